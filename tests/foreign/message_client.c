/* The usual blocking message client: writes a message, reads one, and wants back what it wrote. */
#include "win.h"

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 2, "message_client PIPE [--pattern echo] SIZE...");
    int first = 2;
    if (wcscmp(args[2], L"--pattern") == 0) { /* what the server does; echo is all there is */
        if (count < 5 || wcscmp(args[3], L"echo") != 0)
            fail("--pattern echo SIZE...", ERROR_INVALID_PARAMETER);
        first = 4;
    }

    HANDLE pipe = open_pipe(args[1], 0);
    read_messages(pipe);
    struct message sent = {0}, got = {0};
    for (int i = first; i < count; i++) {
        fill(&sent, i - first, size_of(args[i]));
        write_message(pipe, &sent);
        got.length = 0;
        DWORD error = read_rest(pipe, &got);
        if (error != 0)
            fail("ReadFile", error);
        check_same(&sent, &got);
        printf("ok %lu\n", got.length);
        fflush(stdout);
    }
    CloseHandle(pipe);
    return 0;
}

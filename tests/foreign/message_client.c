/* The usual blocking client in message read mode: writes a message, reads one, and checks that they are equal. */
#include "win.h"

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 2, "message_client PIPE [--pattern echo] SIZE...");
    int first = 2;
    if (wcscmp(args[2], L"--pattern") == 0) { /* the server's behaviour; only echo exists */
        if (count < 5 || wcscmp(args[3], L"echo") != 0)
            fail("--pattern echo SIZE...", ERROR_INVALID_PARAMETER);
        first = 4;
    }

    HANDLE pipe = open_pipe(args[1], 0);
    read_messages(pipe);
    struct message sent = {0}, received = {0};
    for (int i = first; i < count; i++) {
        fill_message(&sent, i - first, size_of(args[i]));
        write_message(pipe, &sent);
        received.length = 0;
        DWORD error = read_rest(pipe, &received);
        if (error != 0)
            fail("ReadFile", error);
        check_equal(&sent, &received);
        printf("ok %lu\n", received.length);
        fflush(stdout);
    }
    CloseHandle(pipe);
    return 0;
}

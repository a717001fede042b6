/* A client that writes and reads in one call, TransactNamedPipe. */
#include "win.h"

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 2, "transact_client PIPE SIZE...");
    HANDLE pipe = open_pipe(args[1], 0);
    read_messages(pipe); /* without it the call is refused */
    struct message sent = {0}, got = {0};
    for (int i = 2; i < count; i++) {
        fill(&sent, i - 2, size_of(args[i]));
        DWORD part = 0;
        got.length = 0;
        BYTE *into = room_for(&got, 512);
        BOOL whole = TransactNamedPipe(pipe, sent.bytes, sent.length, into, 512, &part, NULL);
        DWORD error = whole ? 0 : GetLastError();
        got.length = part;
        if (error == ERROR_MORE_DATA)
            error = read_rest(pipe, &got);
        if (error != 0)
            fail("TransactNamedPipe", error);
        check_same(&sent, &got);
        printf("ok %lu\n", got.length);
        fflush(stdout);
    }
    CloseHandle(pipe);
    return 0;
}

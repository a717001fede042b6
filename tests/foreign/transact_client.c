/* A client that writes and reads in one call, TransactNamedPipe. */
#include "win.h"

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 2, "transact_client PIPE SIZE...");
    HANDLE pipe = open_pipe(args[1], 0);
    read_messages(pipe); /* TransactNamedPipe fails in byte read mode */
    struct message sent = {0}, received = {0};
    for (int i = 2; i < count; i++) {
        fill_message(&sent, i - 2, size_of(args[i]));
        DWORD part = 0;
        received.length = 0;
        BYTE *to = reserve(&received, 512);
        BOOL whole = TransactNamedPipe(pipe, sent.bytes, sent.length, to, 512, &part, NULL);
        DWORD error = whole ? 0 : GetLastError();
        received.length = part;
        if (error == ERROR_MORE_DATA)
            error = read_rest(pipe, &received);
        if (error != 0)
            fail("TransactNamedPipe", error);
        check_equal(&sent, &received);
        printf("ok %lu\n", received.length);
        fflush(stdout);
    }
    CloseHandle(pipe);
    return 0;
}

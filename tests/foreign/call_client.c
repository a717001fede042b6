/* A client that opens, writes, reads and closes in one call, CallNamedPipe: a connection for each message. */
#include "win.h"

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 2, "call_client PIPE SIZE...");
    struct message sent = {0}, got = {0};
    for (int i = 2; i < count; i++) {
        DWORD size = size_of(args[i]);
        fill(&sent, i - 2, size);
        got.length = 0;
        BYTE *into = room_for(&got, size);
        DWORD length = 0;
        /* An answer that is longer than `size` fails with ERROR_MORE_DATA, and its rest is lost. */
        if (!CallNamedPipeW(args[1], sent.bytes, size, into, size, &length, BUSY_MS))
            fail("CallNamedPipe", GetLastError());
        got.length = length;
        check_same(&sent, &got);
        printf("ok %lu\n", got.length);
        fflush(stdout);
    }
    return 0;
}

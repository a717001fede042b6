/* A client that opens, writes, reads and closes in one call, CallNamedPipe: a connection for each message. */
#include "win.h"

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 2, "call_client PIPE SIZE...");
    struct message sent = {0}, received = {0};
    for (int i = 2; i < count; i++) {
        DWORD size = size_of(args[i]);
        fill_message(&sent, i - 2, size);
        received.length = 0;
        BYTE *to = reserve(&received, size);
        DWORD length = 0;
        /* A reply longer than `size` makes the call fail with ERROR_MORE_DATA, and its rest is lost. */
        if (!CallNamedPipeW(args[1], sent.bytes, size, to, size, &length, BUSY_MS))
            fail("CallNamedPipe", GetLastError());
        received.length = length;
        check_equal(&sent, &received);
        printf("ok %lu\n", received.length);
        fflush(stdout);
    }
    return 0;
}

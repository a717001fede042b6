/* A client in byte read mode: it reads the bytes of a message in pieces, and no read reports the end of the message. */
#include "win.h"

#define PIECE 100

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 2, "byte_client PIPE SIZE...");
    HANDLE pipe = open_pipe(args[1], 0);
    struct message sent = {0}, received = {0};
    for (int i = 2; i < count; i++) {
        fill_message(&sent, i - 2, size_of(args[i]));
        write_message(pipe, &sent);
        received.length = 0;
        /* Each read asks for PIECE bytes, also the last one: so surplus bytes are found. */
        while (received.length < sent.length) {
            DWORD part = 0;
            BYTE *to = reserve(&received, PIECE);
            if (!ReadFile(pipe, to, PIECE, &part, NULL))
                fail("ReadFile", GetLastError());
            received.length += part;
        }
        check_equal(&sent, &received);
        printf("ok %lu\n", received.length);
        fflush(stdout);
    }
    CloseHandle(pipe);
    return 0;
}

/* A client that leaves its handle in byte read mode: it gets the bytes of a message in pieces, without its end. */
#include "win.h"

#define PIECE 100

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 2, "byte_client PIPE SIZE...");
    HANDLE pipe = open_pipe(args[1], 0);
    struct message sent = {0}, got = {0};
    for (int i = 2; i < count; i++) {
        fill(&sent, i - 2, size_of(args[i]));
        write_message(pipe, &sent);
        got.length = 0;
        /* Each read may take PIECE, also at the end: bytes too many are seen. */
        while (got.length < sent.length) {
            DWORD part = 0;
            BYTE *into = room_for(&got, PIECE);
            if (!ReadFile(pipe, into, PIECE, &part, NULL))
                fail("ReadFile", GetLastError());
            got.length += part;
        }
        check_same(&sent, &got);
        printf("ok %lu\n", got.length);
        fflush(stdout);
    }
    CloseHandle(pipe);
    return 0;
}

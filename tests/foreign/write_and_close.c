/* A client that writes messages and closes without reading. What it has written stays in the pipe. A write that exceeds
   the pipe's buffer waits until the server has read. */
#include "win.h"

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 3, "write_and_close PIPE SIZE COUNT");
    DWORD size = size_of(args[2]);
    DWORD messages = parse_number(args[3], 1, 1000000);
    HANDLE pipe = open_pipe(args[1], 0);
    struct message sent = {0};
    for (DWORD i = 0; i < messages; i++) {
        fill_message(&sent, i, size);
        write_message(pipe, &sent);
    }
    CloseHandle(pipe);
    return 0;
}

/* A client that writes and leaves at once, without reading: what it wrote is in the pipe when it is gone.
   More than the pipe holds waits for a server that reads on though its answers are not read. */
#include "win.h"

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 3, "hit_and_run PIPE SIZE COUNT");
    DWORD size = size_of(args[2]);
    DWORD messages = number(args[3], 1, 1000000);
    HANDLE pipe = open_pipe(args[1], 0);
    struct message sent = {0};
    for (DWORD i = 0; i < messages; i++) {
        fill(&sent, i, size);
        write_message(pipe, &sent);
    }
    CloseHandle(pipe);
    return 0;
}

/* A client that connects and writes nothing, until its standard input has a line or ends. */
#include "win.h"

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 1, "silent_client PIPE");
    HANDLE pipe = open_pipe(args[1], 0);
    print_line("open");
    wait_for_stdin();
    CloseHandle(pipe);
    return 0;
}

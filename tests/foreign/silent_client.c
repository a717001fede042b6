/* A client that takes a place and says nothing, until its standard input has a line or ends. */
#include "win.h"

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 1, "silent_client PIPE");
    HANDLE pipe = open_pipe(args[1], 0);
    say("open");
    wait_for_stdin();
    CloseHandle(pipe);
    return 0;
}

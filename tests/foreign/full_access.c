/* A client that asks for all that GENERIC_WRITE means, and then tries to serve the name itself. */
#include "win.h"

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 1, "full_access PIPE");
    HANDLE pipe = open_pipe(args[1], 0);
    HANDLE instance = CreateNamedPipeW(args[1], PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
                                       PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT,
                                       PIPE_UNLIMITED_INSTANCES, 4096, 4096, 0, NULL);
    if (instance == INVALID_HANDLE_VALUE) {
        printf("refused %lu\n", GetLastError());
    } else {
        printf("added\n");
        CloseHandle(instance);
    }
    CloseHandle(pipe);
    return 0;
}

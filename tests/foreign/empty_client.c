/* A client that writes a message of no bytes after one of five, and tells what the server makes of it.
   It ends with what it reads then: the end, an error, or a message. */
#include "win.h"

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 1, "empty_client PIPE");
    HANDLE pipe = open_pipe(args[1], 0);
    read_messages(pipe);
    struct message sent = {0}, got = {0};
    fill(&sent, 0, 5);
    write_message(pipe, &sent);
    DWORD error = read_rest(pipe, &got);
    if (error != 0)
        fail("ReadFile", error);
    check_same(&sent, &got);
    say("echo");

    sent.length = 0;
    write_message(pipe, &sent);
    say("wrote-empty");

    got.length = 0;
    error = read_rest(pipe, &got);
    if (error == 0)
        printf("message %lu\n", got.length);
    else if (error == ERROR_BROKEN_PIPE)
        printf("end\n");
    else
        printf("error %lu\n", error);
    CloseHandle(pipe);
    return 0;
}

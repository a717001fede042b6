/* A client that writes a message of five bytes, then an empty message, and prints the result of its next read: the
   end, an error, or a message. */
#include "win.h"

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 1, "empty_client PIPE");
    HANDLE pipe = open_pipe(args[1], 0);
    read_messages(pipe);
    struct message sent = {0}, received = {0};
    fill_message(&sent, 0, 5);
    write_message(pipe, &sent);
    DWORD error = read_rest(pipe, &received);
    if (error != 0)
        fail("ReadFile", error);
    check_equal(&sent, &received);
    print_line("echo");

    sent.length = 0;
    write_message(pipe, &sent);
    print_line("wrote-empty");

    received.length = 0;
    error = read_rest(pipe, &received);
    if (error == 0)
        printf("message %lu\n", received.length);
    else if (error == ERROR_BROKEN_PIPE)
        printf("end\n");
    else
        printf("error %lu\n", error);
    CloseHandle(pipe);
    return 0;
}

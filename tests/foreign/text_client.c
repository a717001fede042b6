/* A client that writes one UTF-16 text with its terminating zero, reads one reply, and prints it in UTF-8. */
#include "win.h"

static void print_reply(const struct message *reply)
{
    const wchar_t *text = (const wchar_t *)reply->bytes;
    int length = 0;
    if (reply->length % sizeof *text != 0)
        fail("the reply is not UTF-16", 0);
    while ((size_t)length < reply->length / sizeof *text && text[length] != 0)
        length++;
    int size = length == 0 ? 0 : WideCharToMultiByte(CP_UTF8, 0, text, length, NULL, 0, NULL, NULL);
    char *utf8 = allocate(NULL, size + 1);
    if (size != 0)
        WideCharToMultiByte(CP_UTF8, 0, text, length, utf8, size, NULL, NULL);
    utf8[size] = 0;
    print_line(utf8);
    free(utf8);
}

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 1, "text_client PIPE [TEXT] [--hold] [--timeout MS]");
    const wchar_t *text = L"Who is there?";
    BOOL hold = FALSE;
    DWORD wait_ms = BUSY_MS;
    for (int i = 2; i < count; i++) {
        if (wcscmp(args[i], L"--hold") == 0)
            hold = TRUE;
        else if (wcscmp(args[i], L"--timeout") == 0 && i + 1 < count)
            wait_ms = parse_number(args[++i], 0, 600000);
        else
            text = args[i];
    }

    HANDLE pipe = try_open_pipe(args[1], 0, wait_ms);
    if (pipe == INVALID_HANDLE_VALUE) {
        print_line("busy");
        return 3;
    }
    read_messages(pipe);
    struct message request = {0}, reply = {0};
    DWORD size = (DWORD)((wcslen(text) + 1) * sizeof *text);
    memcpy(reserve(&request, size), text, size);
    request.length = size;
    write_message(pipe, &request);
    DWORD error = read_rest(pipe, &reply);
    if (error != 0)
        fail("ReadFile", error);
    print_reply(&reply);
    if (hold) {
        print_line("held");
        wait_for_stdin();
    }
    CloseHandle(pipe);
    return 0;
}

/* A client that asks in text: one UTF-16 message with its terminating zero, one answer, shown as UTF-8. */
#include "win.h"

static void show(const struct message *answer)
{
    const wchar_t *text = (const wchar_t *)answer->bytes;
    int length = 0;
    if (answer->length % sizeof *text != 0)
        fail("the answer is not UTF-16", 0);
    while ((size_t)length < answer->length / sizeof *text && text[length] != 0)
        length++;
    int size = length == 0 ? 0 : WideCharToMultiByte(CP_UTF8, 0, text, length, NULL, 0, NULL, NULL);
    char *utf8 = memory(NULL, size + 1);
    if (size != 0)
        WideCharToMultiByte(CP_UTF8, 0, text, length, utf8, size, NULL, NULL);
    utf8[size] = 0;
    say(utf8);
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
            wait_ms = number(args[++i], 0, 600000);
        else
            text = args[i];
    }

    HANDLE pipe = try_open_pipe(args[1], 0, wait_ms);
    if (pipe == INVALID_HANDLE_VALUE) {
        say("busy");
        return 3;
    }
    read_messages(pipe);
    struct message asked = {0}, answer = {0};
    DWORD size = (DWORD)((wcslen(text) + 1) * sizeof *text);
    memcpy(room_for(&asked, size), text, size);
    asked.length = size;
    write_message(pipe, &asked);
    DWORD error = read_rest(pipe, &answer);
    if (error != 0)
        fail("ReadFile", error);
    show(&answer);
    if (hold) {
        say("held");
        wait_for_stdin();
    }
    CloseHandle(pipe);
    return 0;
}

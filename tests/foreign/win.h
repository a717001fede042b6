/* Shared by the programs in this directory: arguments, opening a pipe as a client, whole messages. */
#ifndef FOREIGN_WIN_H
#define FOREIGN_WIN_H

#define UNICODE
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <shellapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUSY_MS 20000
#define LARGEST_SIZE (64u << 20)

static inline _Noreturn void fail(const char *what, DWORD error)
{
    fflush(stdout);
    fprintf(stderr, "%s: error %lu\n", what, error);
    ExitProcess(1);
}

/* Prints a line at once: another program waits for it. */
static inline void print_line(const char *line)
{
    puts(line);
    fflush(stdout);
}

/* The command line in UTF-16, with at least `least` arguments after the program's name. */
static inline wchar_t **arguments(int *count, int least, const char *usage)
{
    _setmode(_fileno(stdout), _O_BINARY); /* "\n" stays "\n" */
    wchar_t **list = CommandLineToArgvW(GetCommandLineW(), count);
    if (list == NULL)
        fail("CommandLineToArgvW", GetLastError());
    if (*count <= least) {
        fprintf(stderr, "usage: %s\n", usage);
        ExitProcess(2);
    }
    return list;
}

static inline DWORD parse_number(const wchar_t *text, DWORD least, DWORD most)
{
    wchar_t *end;
    unsigned long value = wcstoul(text, &end, 10);
    if (end == text || *end != 0 || value < least || value > most) {
        fprintf(stderr, "expected a number from %lu to %lu, not %ls\n", least, most, text);
        ExitProcess(2);
    }
    return value;
}

static inline DWORD size_of(const wchar_t *text)
{
    return parse_number(text, 1, LARGEST_SIZE);
}

static inline void *allocate(void *old, size_t size)
{
    void *at = realloc(old, size);
    if (at == NULL)
        fail("realloc", ERROR_OUTOFMEMORY);
    return at;
}

/* Opens a pipe as a client does, and waits up to `wait_ms` while all its instances are busy.
   Returns INVALID_HANDLE_VALUE if they stay busy; other errors end the program. */
static inline HANDLE try_open_pipe(const wchar_t *name, DWORD flags, DWORD wait_ms)
{
    ULONGLONG deadline = GetTickCount64() + wait_ms;
    for (;;) {
        HANDLE pipe = CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, flags, NULL);
        if (pipe != INVALID_HANDLE_VALUE)
            return pipe;
        if (GetLastError() != ERROR_PIPE_BUSY)
            fail("CreateFile", GetLastError());
        ULONGLONG now = GetTickCount64();
        if (now >= deadline)
            return INVALID_HANDLE_VALUE;
        /* Another client may connect to the instance between this wait and the next open: then the loop waits again. */
        if (!WaitNamedPipeW(name, (DWORD)(deadline - now)) && GetLastError() != ERROR_SEM_TIMEOUT)
            fail("WaitNamedPipe", GetLastError());
    }
}

static inline HANDLE open_pipe(const wchar_t *name, DWORD flags)
{
    HANDLE pipe = try_open_pipe(name, flags, BUSY_MS);
    if (pipe == INVALID_HANDLE_VALUE)
        fail("WaitNamedPipe", ERROR_SEM_TIMEOUT);
    return pipe;
}

/* Sets message read mode. A client's handle is opened in byte read mode. */
static inline void read_messages(HANDLE pipe)
{
    DWORD mode = PIPE_READMODE_MESSAGE;
    if (!SetNamedPipeHandleState(pipe, &mode, NULL, NULL))
        fail("SetNamedPipeHandleState", GetLastError());
}

struct message {
    BYTE *bytes;
    DWORD length;
    DWORD capacity;
};

/* Reserves `more` bytes behind the message. Returns a pointer to them. */
static inline BYTE *reserve(struct message *message, DWORD more)
{
    if (message->capacity - message->length < more) {
        DWORD needed = message->length + more, doubled = 2 * message->capacity;
        message->capacity = needed > doubled ? needed : doubled;
        message->bytes = allocate(message->bytes, message->capacity);
    }
    return message->bytes + message->length;
}

/* Appends the rest of the first message in the pipe. The reads are small, so that most messages take several
   (ERROR_MORE_DATA). Returns 0 or the error. */
static inline DWORD read_rest(HANDLE pipe, struct message *message)
{
    for (;;) {
        DWORD received = 0;
        BOOL whole = ReadFile(pipe, reserve(message, 512), 512, &received, NULL);
        DWORD error = whole ? 0 : GetLastError();
        if (!whole && error != ERROR_MORE_DATA)
            return error;
        message->length += received;
        if (whole)
            return 0;
    }
}

static inline void write_message(HANDLE pipe, const struct message *message)
{
    DWORD written = 0;
    if (!WriteFile(pipe, message->bytes, message->length, &written, NULL))
        fail("WriteFile", GetLastError());
    if (written != message->length)
        fail("WriteFile has written a part", 0);
}

/* Makes message `index`. Consecutive messages differ, and so do messages of different sizes. */
static inline void fill_message(struct message *message, DWORD index, DWORD size)
{
    message->length = 0;
    BYTE *bytes = reserve(message, size);
    for (DWORD i = 0; i < size; i++)
        bytes[i] = (BYTE)(i * 31 + index * 7 + size);
    message->length = size;
}

static inline void check_equal(const struct message *sent, const struct message *received)
{
    if (sent->length == received->length && memcmp(sent->bytes, received->bytes, sent->length) == 0)
        return;
    fprintf(stderr, "sent %lu bytes, received %lu\n", sent->length, received->length);
    fail("the reply differs from the request", 0);
}

static inline void wait_for_stdin(void)
{
    char line[256];
    (void)!fgets(line, sizeof line, stdin);
}

#endif

/* What the programs beside this file share: arguments, opening a pipe as a client, whole messages. */
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

/* One line that another program waits for. */
static inline void say(const char *line)
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

static inline DWORD number(const wchar_t *text, DWORD least, DWORD most)
{
    wchar_t *end;
    unsigned long value = wcstoul(text, &end, 10);
    if (end == text || *end != 0 || value < least || value > most) {
        fprintf(stderr, "a number from %lu to %lu, please, not %ls\n", least, most, text);
        ExitProcess(2);
    }
    return value;
}

static inline DWORD size_of(const wchar_t *text)
{
    return number(text, 1, LARGEST_SIZE);
}

static inline void *memory(void *old, size_t size)
{
    void *at = realloc(old, size);
    if (at == NULL)
        fail("realloc", ERROR_OUTOFMEMORY);
    return at;
}

/* Opens a pipe as a client does, waiting up to `wait_ms` while all its instances are taken.
   Returns INVALID_HANDLE_VALUE if they stay taken; other errors end the program. */
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
        /* An instance may be taken by another client between this wait and the next try. */
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

/* A client's handle begins in byte read mode. */
static inline void read_messages(HANDLE pipe)
{
    DWORD mode = PIPE_READMODE_MESSAGE;
    if (!SetNamedPipeHandleState(pipe, &mode, NULL, NULL))
        fail("SetNamedPipeHandleState", GetLastError());
}

struct message {
    BYTE *bytes;
    DWORD length;
    DWORD room;
};

/* Room for `more` bytes behind what is there. */
static inline BYTE *room_for(struct message *message, DWORD more)
{
    if (message->room - message->length < more) {
        message->room = message->length + more > 2 * message->room ? message->length + more : 2 * message->room;
        message->bytes = memory(message->bytes, message->room);
    }
    return message->bytes + message->length;
}

/* Appends what is left of the message at the front of the pipe. The small pieces are on purpose:
   most messages take more than one. Returns 0 or the error. */
static inline DWORD read_rest(HANDLE pipe, struct message *message)
{
    for (;;) {
        DWORD got = 0;
        BOOL whole = ReadFile(pipe, room_for(message, 512), 512, &got, NULL);
        DWORD error = whole ? 0 : GetLastError();
        if (!whole && error != ERROR_MORE_DATA)
            return error;
        message->length += got;
        if (whole)
            return 0;
    }
}

static inline void write_message(HANDLE pipe, const struct message *message)
{
    DWORD wrote = 0;
    if (!WriteFile(pipe, message->bytes, message->length, &wrote, NULL))
        fail("WriteFile", GetLastError());
    if (wrote != message->length)
        fail("WriteFile wrote a part", 0);
}

/* Message `index` of a conversation: no two neighbours are alike, nor two sizes. */
static inline void fill(struct message *message, DWORD index, DWORD size)
{
    message->length = 0;
    BYTE *bytes = room_for(message, size);
    for (DWORD i = 0; i < size; i++)
        bytes[i] = (BYTE)(i * 31 + index * 7 + size);
    message->length = size;
}

static inline void check_same(const struct message *sent, const struct message *got)
{
    if (sent->length == got->length && memcmp(sent->bytes, got->bytes, sent->length) == 0)
        return;
    fprintf(stderr, "sent %lu bytes, got %lu\n", sent->length, got->length);
    fail("the answer is not what was sent", 0);
}

static inline void wait_for_stdin(void)
{
    char line[256];
    (void)!fgets(line, sizeof line, stdin);
}

#endif

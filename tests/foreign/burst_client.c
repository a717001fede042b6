/* A client that writes without waiting for answers: one thread writes all messages, another reads all answers.
   A handle that is not overlapped would let the write wait for the read. */
#include "win.h"

struct burst {
    HANDLE pipe;
    DWORD messages;
    DWORD sizes;
    DWORD *size;
};

static OVERLAPPED operation(void)
{
    OVERLAPPED begun = {0};
    begun.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (begun.hEvent == NULL)
        fail("CreateEvent", GetLastError());
    return begun;
}

/* Waits for what was begun. Returns 0 or the error, and the bytes moved. */
static DWORD result(HANDLE pipe, OVERLAPPED *begun, BOOL done, DWORD *bytes)
{
    DWORD error = done ? 0 : GetLastError();
    if (error != 0 && error != ERROR_IO_PENDING && error != ERROR_MORE_DATA)
        return error;
    return GetOverlappedResult(pipe, begun, bytes, TRUE) ? 0 : GetLastError();
}

static DWORD WINAPI write_all(LPVOID context)
{
    const struct burst *burst = context;
    OVERLAPPED begun = operation();
    struct message message = {0};
    for (DWORD i = 0; i < burst->messages; i++) {
        fill(&message, i, burst->size[i % burst->sizes]);
        DWORD wrote = 0;
        BOOL done = WriteFile(burst->pipe, message.bytes, message.length, NULL, &begun);
        DWORD error = result(burst->pipe, &begun, done, &wrote);
        if (error != 0 || wrote != message.length)
            fail("WriteFile", error);
    }
    return 0;
}

static void read_all(const struct burst *burst)
{
    OVERLAPPED begun = operation();
    struct message expected = {0}, got = {0};
    for (DWORD i = 0; i < burst->messages; i++) {
        DWORD error;
        got.length = 0;
        do {
            DWORD part = 0;
            BOOL done = ReadFile(burst->pipe, room_for(&got, 512), 512, NULL, &begun);
            error = result(burst->pipe, &begun, done, &part);
            if (error != 0 && error != ERROR_MORE_DATA)
                fail("ReadFile", error);
            got.length += part;
        } while (error == ERROR_MORE_DATA);
        fill(&expected, i, burst->size[i % burst->sizes]);
        check_same(&expected, &got);
    }
}

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 3, "burst_client PIPE COUNT SIZE...");
    struct burst burst = {.sizes = count - 3};
    burst.messages = number(args[2], 1, 100000) * burst.sizes;
    burst.size = memory(NULL, burst.sizes * sizeof *burst.size);
    for (DWORD i = 0; i < burst.sizes; i++)
        burst.size[i] = size_of(args[3 + i]);

    burst.pipe = open_pipe(args[1], FILE_FLAG_OVERLAPPED);
    read_messages(burst.pipe);
    HANDLE writer = CreateThread(NULL, 0, write_all, &burst, 0, NULL);
    if (writer == NULL)
        fail("CreateThread", GetLastError());
    read_all(&burst);
    WaitForSingleObject(writer, INFINITE);
    CloseHandle(burst.pipe);
    printf("ok %lu\n", burst.messages);
    return 0;
}

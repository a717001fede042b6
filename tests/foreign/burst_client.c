/* A client that writes without waiting for replies: one thread writes all messages, another reads all replies.
   The handle is overlapped. On a synchronous handle the system serializes operations: the write would wait for the
   read. */
#include "win.h"

struct burst {
    HANDLE pipe;
    DWORD messages;
    DWORD sizes;
    DWORD *size;
};

static OVERLAPPED new_overlapped(void)
{
    OVERLAPPED overlapped = {0};
    overlapped.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (overlapped.hEvent == NULL)
        fail("CreateEvent", GetLastError());
    return overlapped;
}

/* Waits for the operation to complete. Returns 0 or the error, and the transferred bytes. */
static DWORD wait_for_result(HANDLE pipe, OVERLAPPED *overlapped, BOOL done, DWORD *bytes)
{
    DWORD error = done ? 0 : GetLastError();
    if (error != 0 && error != ERROR_IO_PENDING && error != ERROR_MORE_DATA)
        return error;
    return GetOverlappedResult(pipe, overlapped, bytes, TRUE) ? 0 : GetLastError();
}

static DWORD WINAPI write_all(LPVOID context)
{
    const struct burst *burst = context;
    OVERLAPPED overlapped = new_overlapped();
    struct message message = {0};
    for (DWORD i = 0; i < burst->messages; i++) {
        fill_message(&message, i, burst->size[i % burst->sizes]);
        DWORD written = 0;
        BOOL done = WriteFile(burst->pipe, message.bytes, message.length, NULL, &overlapped);
        DWORD error = wait_for_result(burst->pipe, &overlapped, done, &written);
        if (error != 0 || written != message.length)
            fail("WriteFile", error);
    }
    return 0;
}

static void read_all(const struct burst *burst)
{
    OVERLAPPED overlapped = new_overlapped();
    struct message expected = {0}, received = {0};
    for (DWORD i = 0; i < burst->messages; i++) {
        DWORD error;
        received.length = 0;
        do {
            DWORD part = 0;
            BOOL done = ReadFile(burst->pipe, reserve(&received, 512), 512, NULL, &overlapped);
            error = wait_for_result(burst->pipe, &overlapped, done, &part);
            if (error != 0 && error != ERROR_MORE_DATA)
                fail("ReadFile", error);
            received.length += part;
        } while (error == ERROR_MORE_DATA);
        fill_message(&expected, i, burst->size[i % burst->sizes]);
        check_equal(&expected, &received);
    }
}

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 3, "burst_client PIPE COUNT SIZE...");
    struct burst burst = {.sizes = count - 3};
    burst.messages = parse_number(args[2], 1, 100000) * burst.sizes;
    burst.size = allocate(NULL, burst.sizes * sizeof *burst.size);
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

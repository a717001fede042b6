/* A usual overlapped server: a fixed number of instances, one thread, an event for each instance. It replies to each
   message with the same message, or to all with one text, until its standard input ends. */
#include "win.h"

#define MOST_INSTANCES (MAXIMUM_WAIT_OBJECTS - 1)
#define LARGEST_MESSAGE (1u << 20)
#define PIPE_BUFFER 4096

static const wchar_t text[] = L"Default answer from server";
static BOOL replies_with_text; /* --answer: instead of an echo */

enum state { CONNECTING, READING, WRITING };

struct instance {
    HANDLE pipe;
    OVERLAPPED overlapped;
    enum state state;
    struct message message; /* read, then written */
};

/* Starts the operation of the state. Returns 0 if it has completed, ERROR_IO_PENDING, or the error. */
static DWORD start_operation(struct instance *instance, DWORD *bytes)
{
    struct message *message = &instance->message;
    BOOL done = FALSE;
    switch (instance->state) {
    case CONNECTING:
        done = ConnectNamedPipe(instance->pipe, &instance->overlapped);
        if (!done && (GetLastError() == ERROR_PIPE_CONNECTED || GetLastError() == ERROR_NO_DATA))
            return 0; /* connected before; ERROR_NO_DATA: and closed again, its messages can still be read */
        break;
    case READING: {
        BYTE *to = reserve(message, PIPE_BUFFER);
        done = ReadFile(instance->pipe, to, message->capacity - message->length, NULL, &instance->overlapped);
        break;
    }
    case WRITING:
        done = WriteFile(instance->pipe, message->bytes, message->length, NULL, &instance->overlapped);
        break;
    }
    DWORD error = done ? 0 : GetLastError();
    if (error == 0 || error == ERROR_MORE_DATA)
        return GetOverlappedResult(instance->pipe, &instance->overlapped, bytes, FALSE) ? 0 : GetLastError();
    return error;
}

/* Enters the next state after an operation with this result. */
static void complete_operation(struct instance *instance, DWORD error, DWORD bytes)
{
    struct message *message = &instance->message;
    if (instance->state == CONNECTING && error == 0) {
        message->length = 0;
        instance->state = READING;
        return;
    }
    if (instance->state == READING && (error == 0 || error == ERROR_MORE_DATA)) {
        message->length += bytes;
        if (error == 0) {
            if (replies_with_text) {
                message->length = 0;
                memcpy(reserve(message, sizeof text), text, sizeof text);
                message->length = sizeof text;
            }
            instance->state = WRITING;
            return;
        }
        if (message->length < LARGEST_MESSAGE)
            return; /* reads the rest */
    }
    if (instance->state == WRITING && error == 0 && bytes == message->length) {
        message->length = 0;
        instance->state = READING;
        return;
    }
    /* The client has closed, or its message is too large: the instance waits for the next client. */
    if (instance->state == CONNECTING)
        fail("ConnectNamedPipe", error);
    if (!DisconnectNamedPipe(instance->pipe))
        fail("DisconnectNamedPipe", GetLastError());
    instance->state = CONNECTING;
}

static void run_until_pending(struct instance *instance)
{
    DWORD bytes = 0, error;
    while ((error = start_operation(instance, &bytes)) != ERROR_IO_PENDING)
        complete_operation(instance, error, bytes);
}

static DWORD WINAPI watch_stdin(LPVOID stop)
{
    while (getchar() != EOF)
        continue;
    SetEvent(stop);
    return 0;
}

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 2, "overlapped_server PIPE INSTANCES [--answer]");
    DWORD instances = parse_number(args[2], 1, MOST_INSTANCES);
    replies_with_text = count > 3 && wcscmp(args[3], L"--answer") == 0;

    static struct instance all[MOST_INSTANCES];
    HANDLE events[MAXIMUM_WAIT_OBJECTS];
    events[0] = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (events[0] == NULL || CreateThread(NULL, 0, watch_stdin, events[0], 0, NULL) == NULL)
        fail("CreateThread", GetLastError());
    for (DWORD i = 0; i < instances; i++) {
        events[1 + i] = all[i].overlapped.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
        all[i].pipe = CreateNamedPipeW(args[1], PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
                                       PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT, instances,
                                       PIPE_BUFFER, PIPE_BUFFER, 0, NULL);
        if (all[i].pipe == INVALID_HANDLE_VALUE || events[1 + i] == NULL)
            fail("CreateNamedPipe", GetLastError());
        run_until_pending(&all[i]);
    }
    print_line("listening");

    for (;;) {
        DWORD which = WaitForMultipleObjects(1 + instances, events, FALSE, INFINITE);
        if (which == WAIT_OBJECT_0)
            return 0;
        if (which > WAIT_OBJECT_0 + instances)
            fail("WaitForMultipleObjects", GetLastError());
        struct instance *instance = &all[which - WAIT_OBJECT_0 - 1];
        DWORD bytes = 0;
        BOOL done = GetOverlappedResult(instance->pipe, &instance->overlapped, &bytes, FALSE);
        complete_operation(instance, done ? 0 : GetLastError(), bytes);
        run_until_pending(instance);
    }
}

/* A server in the usual overlapped manner: a fixed number of instances, one thread, an event for each instance.
   It answers each message with the same message, or all with one text, until its standard input ends. */
#include "win.h"

#define MOST_INSTANCES (MAXIMUM_WAIT_OBJECTS - 1)
#define LARGEST_MESSAGE (1u << 20)
#define PIPE_BUFFER 4096

static const wchar_t answer[] = L"Default answer from server";
static BOOL answers; /* --answer: instead of an echo */

enum state { CONNECTING, READING, WRITING };

struct instance {
    HANDLE pipe;
    OVERLAPPED begun;
    enum state state;
    struct message message; /* what is being read, then what is being written */
};

/* Begins what the state asks for. Returns 0 if it is done already, ERROR_IO_PENDING, or why it failed. */
static DWORD begin(struct instance *one, DWORD *bytes)
{
    BOOL done = FALSE;
    switch (one->state) {
    case CONNECTING:
        done = ConnectNamedPipe(one->pipe, &one->begun);
        if (!done && (GetLastError() == ERROR_PIPE_CONNECTED || GetLastError() == ERROR_NO_DATA))
            return 0; /* a client was faster; ERROR_NO_DATA: it has left again, its messages are there to be read */
        break;
    case READING: {
        BYTE *into = room_for(&one->message, PIPE_BUFFER);
        done = ReadFile(one->pipe, into, one->message.room - one->message.length, NULL, &one->begun);
        break;
    }
    case WRITING:
        done = WriteFile(one->pipe, one->message.bytes, one->message.length, NULL, &one->begun);
        break;
    }
    DWORD error = done ? 0 : GetLastError();
    if (error == 0 || error == ERROR_MORE_DATA)
        return GetOverlappedResult(one->pipe, &one->begun, bytes, FALSE) ? 0 : GetLastError();
    return error;
}

/* What comes after an operation that ended so. */
static void advance(struct instance *one, DWORD error, DWORD bytes)
{
    struct message *message = &one->message;
    if (one->state == CONNECTING && error == 0) {
        message->length = 0;
        one->state = READING;
        return;
    }
    if (one->state == READING && (error == 0 || error == ERROR_MORE_DATA)) {
        message->length += bytes;
        if (error == 0) {
            if (answers) {
                message->length = 0;
                memcpy(room_for(message, sizeof answer), answer, sizeof answer);
                message->length = sizeof answer;
            }
            one->state = WRITING;
            return;
        }
        if (message->length < LARGEST_MESSAGE)
            return; /* reads on */
    }
    if (one->state == WRITING && error == 0 && bytes == message->length) {
        message->length = 0;
        one->state = READING;
        return;
    }
    /* The client has left, or said too much: the instance is for the next one. */
    if (one->state == CONNECTING)
        fail("ConnectNamedPipe", error);
    if (!DisconnectNamedPipe(one->pipe))
        fail("DisconnectNamedPipe", GetLastError());
    one->state = CONNECTING;
}

static void run(struct instance *one)
{
    DWORD bytes = 0, error;
    while ((error = begin(one, &bytes)) != ERROR_IO_PENDING)
        advance(one, error, bytes);
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
    DWORD instances = number(args[2], 1, MOST_INSTANCES);
    answers = count > 3 && wcscmp(args[3], L"--answer") == 0;

    static struct instance all[MOST_INSTANCES];
    HANDLE events[MAXIMUM_WAIT_OBJECTS];
    events[0] = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (events[0] == NULL || CreateThread(NULL, 0, watch_stdin, events[0], 0, NULL) == NULL)
        fail("CreateThread", GetLastError());
    for (DWORD i = 0; i < instances; i++) {
        events[1 + i] = all[i].begun.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
        all[i].pipe = CreateNamedPipeW(args[1], PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
                                       PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT, instances,
                                       PIPE_BUFFER, PIPE_BUFFER, 0, NULL);
        if (all[i].pipe == INVALID_HANDLE_VALUE || events[1 + i] == NULL)
            fail("CreateNamedPipe", GetLastError());
        run(&all[i]);
    }
    say("listening");

    for (;;) {
        DWORD which = WaitForMultipleObjects(1 + instances, events, FALSE, INFINITE);
        if (which == WAIT_OBJECT_0)
            return 0;
        if (which > WAIT_OBJECT_0 + instances)
            fail("WaitForMultipleObjects", GetLastError());
        struct instance *one = &all[which - WAIT_OBJECT_0 - 1];
        DWORD bytes = 0;
        BOOL done = GetOverlappedResult(one->pipe, &one->begun, &bytes, FALSE);
        advance(one, done ? 0 : GetLastError(), bytes);
        run(one);
    }
}

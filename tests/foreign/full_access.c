/* A client that opens the pipe with GENERIC_READ and GENERIC_WRITE, prints its access list, and then tries to create an
   instance of the name. */
#include "win.h"

#include <aclapi.h>
#include <sddl.h>

/* The least rights of a client. GENERIC_WRITE also contains the right to create instances. */
#define CLIENT_RIGHTS 0x12019b

int main(void)
{
    int count;
    wchar_t **args = arguments(&count, 1, "full_access PIPE");
    HANDLE pipe = CreateFileW(args[1], GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    if (pipe != INVALID_HANDLE_VALUE) {
        printf("opened\n");
    } else {
        printf("denied %lu\n", GetLastError());
        pipe = CreateFileW(args[1], CLIENT_RIGHTS, 0, NULL, OPEN_EXISTING, 0, NULL);
        if (pipe == INVALID_HANDLE_VALUE)
            fail("CreateFile", GetLastError());
    }

    PSECURITY_DESCRIPTOR descriptor;
    char *list;
    DWORD error = GetSecurityInfo(pipe, SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL, NULL, NULL, &descriptor);
    if (error != ERROR_SUCCESS)
        fail("GetSecurityInfo", error);
    if (!ConvertSecurityDescriptorToStringSecurityDescriptorA(descriptor, SDDL_REVISION_1, DACL_SECURITY_INFORMATION,
                                                              &list, NULL))
        fail("ConvertSecurityDescriptorToStringSecurityDescriptor", GetLastError());
    printf("%s\n", list);

    HANDLE instance = CreateNamedPipeW(args[1], PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
                                       PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT,
                                       PIPE_UNLIMITED_INSTANCES, 4096, 4096, 0, NULL);
    if (instance == INVALID_HANDLE_VALUE) {
        printf("refused %lu\n", GetLastError());
    } else {
        printf("added\n");
        CloseHandle(instance);
    }
    CloseHandle(pipe);
    return 0;
}

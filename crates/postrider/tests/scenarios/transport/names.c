/* The names and the internet of a scenario: what the resolver answers stands in the file TEST_NAMES
 * (a line for each address: name, address), each address that is connected to is written to
 * TEST_CONNECTS, and one public address (the receiver's) is here. Everything else goes its way. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVER "93.184.215.14"

typedef int resolve(const char *, const char *, const struct addrinfo *, struct addrinfo **);
typedef int reach(int, const struct sockaddr *, socklen_t);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
    resolve *real = (resolve *)dlsym(RTLD_NEXT, "getaddrinfo");
    const char *path = getenv("TEST_NAMES");
    size_t length = node ? strlen(node) : 0;
    if (!path || length < 5 || strcmp(node + length - 5, ".test") != 0)
        return real(node, service, hints, found);
    FILE *file = fopen(path, "r");
    if (!file)
        return EAI_AGAIN;
    struct addrinfo wanted = *hints;
    wanted.ai_flags |= AI_NUMERICHOST;
    *found = NULL;
    struct addrinfo **end = found;
    char name[256], address[256];
    while (fscanf(file, "%255s %255s", name, address) == 2) {
        if (strcmp(name, node) != 0 || real(address, service, &wanted, end) != 0)
            continue;
        while (*end)
            end = &(*end)->ai_next;
    }
    fclose(file);
    return *found ? 0 : EAI_NONAME;
}

int connect(int fd, const struct sockaddr *to, socklen_t length) {
    reach *real = (reach *)dlsym(RTLD_NEXT, "connect");
    char text[INET6_ADDRSTRLEN + 1] = "";
    if (to->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)to)->sin_addr, text, INET6_ADDRSTRLEN);
    else if (to->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)to)->sin6_addr, text, INET6_ADDRSTRLEN);
    const char *path = getenv("TEST_CONNECTS");
    if (path && *text) {
        int out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        char line[INET6_ADDRSTRLEN + 16];
        int port = ntohs(((const struct sockaddr_in *)to)->sin_port);
        int size = snprintf(line, sizeof line, "%s %d\n", text, port);
        if (out < 0 || write(out, line, size) != size)
            abort();
        close(out);
    }
    if (to->sa_family == AF_INET && strcmp(text, RECEIVER) == 0) {
        struct sockaddr_in here = *(const struct sockaddr_in *)to;
        inet_pton(AF_INET, "127.0.0.1", &here.sin_addr);
        return real(fd, (const struct sockaddr *)&here, sizeof here);
    }
    return real(fd, to, length);
}

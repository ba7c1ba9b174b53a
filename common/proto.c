/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/proto.h"

#include "common/uuid.h"

static struct json *status_json(const struct error *error)
{
    bool failed = error && error->code != 0;
    struct json *status = json_object_new();
    json_set_int(status, "code", failed ? err_exit_code(error->code) : 0);
    json_set_str(status, "message", failed ? error->text : "ok");
    json_set_str(status, "remedy", failed ? error->remedy : "");
    json_set(status, "errors", json_array_new());
    return status;
}

static struct json *envelope(const char *verb, const char *request_id, struct json **ret_request)
{
    struct json *message = json_object_new();
    struct json *request = json_object_new();
    json_set_str(request, "verb", verb);
    json_set_str(request, "id", request_id);
    json_set_str(message, "api_version", PROTO_API_VERSION);
    json_set(message, "request", request);
    *ret_request = request;
    return message;
}

struct json *proto_answer(const char *verb, const char *request_id, const struct error *error, struct json *data)
{
    struct json *request;
    struct json *answer = envelope(verb, request_id, &request);
    json_set(answer, "status", status_json(error));
    json_set(answer, "data", data ? data : json_object_new());
    return answer;
}

struct json *proto_request(const char *verb, const char *request_id, struct json *args)
{
    struct json *request;
    struct json *message = envelope(verb, request_id, &request);
    json_set(request, "args", args ? args : json_object_new());
    return message;
}

static int check_api_version(const struct json *request, struct error *e)
{
    const char *version = json_get_str(request, "api_version", NULL);
    if (!version)
        return error_set(e, ERR_USAGE, "the request has no api_version");
    if (!str_eq(version, PROTO_API_VERSION))
        return error_set(e, ERR_USAGE, "the request has api_version \"%s\", this agent speaks \"%s\"", version,
                         PROTO_API_VERSION);
    return 0;
}

/* The nil UUID would make a retry look like every other request. */
static bool is_request_id(const char *id)
{
    struct uuid u;
    return id && uuid_parse(id, &u) == 0 && !uuid_is_nil(&u);
}

int proto_parse_request(const struct json *request, const char **ret_verb, const char **ret_id,
                        const struct json **ret_args, struct error *e)
{
    int err = check_api_version(request, e);
    if (err)
        return err;
    const struct json *body = json_get(request, "request");
    const char *verb = json_get_str(body, "verb", NULL);
    const char *id = json_get_str(body, "id", NULL);
    const struct json *args = json_get(body, "args");
    if (!verb || verb[0] == '\0')
        return error_set(e, ERR_USAGE, "the request has no verb");
    if (!is_request_id(id))
        return error_set(e, ERR_USAGE, "the id of the request is not a UUID");
    if (!json_is_object(args))
        return error_set(e, ERR_USAGE, "the args of the request are not an object");
    *ret_verb = verb;
    *ret_id = id;
    *ret_args = args;
    return 0;
}

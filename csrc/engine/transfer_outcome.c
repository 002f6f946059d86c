/* Owns the mapping from libcurl's errors to outcomes.
 * Does not look at the body. */
#include "engine/transfer_outcome.h"

#include <errno.h>

#include "engine/socket.h"

static enum outcome connect_outcome(int error) {
    if (socket_is_local_fault(error)) return OUTCOME_local_fault;
    return error == ETIMEDOUT ? OUTCOME_connect_timeout : OUTCOME_refused;
}

enum outcome transfer_outcome(CURLcode code, int error, bool connected) {
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return OUTCOME_dns_failed;
    case CURLE_COULDNT_CONNECT:
        return connect_outcome(error);
    case CURLE_OPERATION_TIMEDOUT:
        return connected ? OUTCOME_total_timeout : OUTCOME_connect_timeout;
    case CURLE_OUT_OF_MEMORY:
        return OUTCOME_local_fault;
    case CURLE_PARTIAL_FILE:
        return OUTCOME_truncated;
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return connected ? OUTCOME_reset : OUTCOME_tls_failed;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_USE_SSL_FAILED:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_SHUTDOWN_FAILED:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
        return OUTCOME_tls_failed;
    default:
        return OUTCOME_malformed;
    }
}

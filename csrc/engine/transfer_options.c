/* Owns how libcurl makes, keeps and trusts connections.
 * Does not know requests. */
#include "engine/transfer_options.h"

/* libcurl's receive buffer; in 7.x each transfer has one of its own, so it decides the memory of a stream. */
enum { RECEIVE_BYTES = 8 * 1024, SEND_BYTES = 16 * 1024, MAX_IDLE_SECONDS = 4 };

/* libcurl reads a file of certificates once for each multi and keeps it, but not when there is a folder of
 * them as well, as in its default on Debian: then once for each connection, which takes 45 ms. */
static void set_trust(CURL *easy, const struct engine_config *config) {
    bool has_file = config->cacert[0], has_folder = config->capath[0];
    if (!has_file && !has_folder) return;
    curl_easy_setopt(easy, CURLOPT_CAINFO, has_file ? config->cacert : NULL);
    curl_easy_setopt(easy, CURLOPT_CAPATH, has_folder ? config->capath : NULL);
}

static void set_tls(CURL *easy, const struct engine_config *config, CURLSH *share) {
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, config->insecure ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, config->insecure ? 0L : 2L);
    set_trust(easy, config);
    curl_easy_setopt(easy, CURLOPT_SHARE, share);
}

static void set_reuse(CURL *easy, bool fresh) {
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)MAX_IDLE_SECONDS); /* vLLM closes idle ones after 5 s */
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, fresh ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
}

/* As libcurl does it: 307 and 308 keep the body, others become a GET; another host gets no Authorization. */
static void set_redirects(CURL *easy, bool follow) {
    enum { MOST_REDIRECTS = 10 };
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, follow ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)MOST_REDIRECTS);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

/* No connect time-out: libcurl would keep a timer for each transfer; the engine has time-outs of its own. */
void transfer_options(CURL *easy, const struct engine_config *config, CURLSH *share) {
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* one from the environment would be measured as well */
    curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, -1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_BYTES);
    set_reuse(easy, config->fresh_connections);
    set_redirects(easy, config->follow_redirects);
    set_tls(easy, config, share);
}

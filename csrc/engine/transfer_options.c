/* Owns how libcurl makes, keeps and trusts connections.
 * Does not know requests. */
#include "engine/transfer_options.h"

/* libcurl's receive buffer; in 7.x each transfer has one of its own, so it decides the memory of a stream. */
enum { RECEIVE_BYTES = 8 * 1024, SEND_BYTES = 16 * 1024, MAX_IDLE_SECONDS = 4 };

/* libcurl reads the CA bundle once for each multi and keeps it, but not when there is a folder of
 * certificates as well, as Debian's build has it: then once for each connection, which takes 45 ms. */
static void keep_bundle(CURL *easy) {
#if LIBCURL_VERSION_NUM >= 0x075400 /* 7.84: cainfo in the version's data */
    const curl_version_info_data *built = curl_version_info(CURLVERSION_NOW);
    if (built->age >= CURLVERSION_TENTH && built->cainfo) curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
#else
    (void)easy;
#endif
}

static void set_tls(CURL *easy, const struct engine_config *config, CURLSH *share) {
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, config->insecure ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, config->insecure ? 0L : 2L);
    if (config->cacert[0])
        curl_easy_setopt(easy, CURLOPT_CAINFO, config->cacert), curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    else
        keep_bundle(easy);
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
    /* Decode what a proxy compresses unasked; the list of headers leaves out the one that asks for it. */
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_BYTES);
    set_reuse(easy, config->fresh_connections);
    set_redirects(easy, config->follow_redirects);
    set_tls(easy, config, share);
}

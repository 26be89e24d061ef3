package main

// obsolete lists the keys of older configurations that are read without effect, each with the warning that says so.
// Those with an empty text are harmless, or come with another key that warns, or belong to a back end that is none any
// more: nobody gets past storage with them.
func obsolete() map[string]string {
	texts := map[string]string{
		"mirroring.source":   "this registry is no mirror: what is missing is not fetched from elsewhere",
		"cache.host":         "no cache is needed: the index answers without Redis",
		"cache_lru.host":     "no cache is needed: the index answers without Redis",
		"bugsnag":            "errors are not sent to Bugsnag: watch the log for lines of the level error",
		"cors.resources":     "every path is the same to scripts of other sites",
		"privileged_key":     "signed requests are not known: let a proxy decide who may do what",
		"registry_endpoints": "clients find this registry by the name they ask for",
		"cloudfront.base":    "redirects are signed by the store itself: see storage_redirect",
		"boto_proxy":         "use the environment variable HTTPS_PROXY",
		"s3_use_sigv4":       "",
		"secret_key":         "",
	}
	for _, key := range []string{
		"standalone", "index_endpoint", "disable_token_auth", "mirroring", "cache", "cache_lru",
		"cors.always_send", "cors.automatic_options", "cors.vary_header", "cloudfront",
		"auth_htpasswd_realm", "auth_htpasswd_path", "storage_alternate",
		"boto_debug", "boto_proxy_port", "boto_proxy_user", "boto_proxy_pass",
		"elliptics_nodes", "elliptics_wait_timeout", "elliptics_check_timeout", "elliptics_io_thread_num", "elliptics_net_thread_num",
		"elliptics_nonblocking_io_thread_num", "elliptics_groups", "elliptics_verbosity", "elliptics_logfile", "elliptics_addr_family",
		"elliptics_namespace", "elliptics_node_flags",
		"oss_host", "oss_bucket", "oss_accessid", "oss_accesskey",
	} {
		texts[key] = ""
	}
	return texts
}

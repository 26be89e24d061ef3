package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// An origin is what proxies say of how a client came. It is the zero origin if there are none.
type origin struct {
	proxied bool       // a proxy has passed the request on
	trusted bool       // and is one whose word is taken
	addr    netip.Addr // of the client; not valid unless trusted
	scheme  string     // http:// or https://; "" if no trusted proxy says
	host    string     // that the client asked for; "" if no trusted proxy says
}

// readProxies finds out how a client came. What headers say of that counts if it is a trusted proxy that has sent them:
// anybody can.
func (s *Server) readProxies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if proxied(r.Header) {
			rw := wrap(w)
			rw.origin = s.origin(r)
			w = rw
		}
		next.ServeHTTP(w, r)
	})
}

// proxied reports whether a header looks like one that a proxy has passed on.
func proxied(h http.Header) bool {
	return h["X-Forwarded-For"] != nil || h["X-Forwarded-Proto"] != nil || h["X-Forwarded-Host"] != nil ||
		h["X-Real-Ip"] != nil || h["Forwarded"] != nil || h["Via"] != nil
}

// origin reads the headers of proxies. Forwarded is looked at only if there is none of the others: most proxies write
// those, and pass on a Forwarded that their client made up.
func (s *Server) origin(r *http.Request) origin {
	o := origin{proxied: true}
	peer := peerAddr(r)
	if !s.trusts(peer) {
		return o
	}
	o.trusted, o.addr = true, peer
	h := r.Header
	hops, proto, host := split(h["X-Forwarded-For"]), first(h["X-Forwarded-Proto"]), first(h["X-Forwarded-Host"])
	if hops == nil {
		hops = split(h["X-Real-Ip"])
	}
	if hops == nil && proto == "" && host == "" {
		elements := forwarded(h["Forwarded"])
		for _, e := range elements {
			hops = append(hops, e.addr)
		}
		if n := s.walk(&o, hops); n < len(elements) {
			proto, host = elements[n].proto, elements[n].host
		}
	} else {
		s.walk(&o, hops)
	}
	if proto = strings.ToLower(proto); proto == "http" || proto == "https" {
		o.scheme = proto + "://"
	}
	if isHost(host) {
		o.host = host
	}
	return o
}

// walk goes from the server towards the client for as long as proxies can be trusted, and returns the hop where it ends.
// What lies behind that may be made up.
func (s *Server) walk(o *origin, hops []string) (end int) {
	end = len(hops)
	for i := len(hops) - 1; i >= 0 && s.trusts(o.addr); i-- {
		addr, ok := parseHop(hops[i])
		if !ok {
			break
		}
		o.addr, end = addr, i
	}
	return end
}

// trusts reports whether addr is that of a trusted proxy.
func (s *Server) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(s.trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// peerAddr returns the address at the other end of the connection. It is not valid if there is none.
func peerAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// clientAddr returns the address of the client, as far as it can be known.
func (w *response) clientAddr(r *http.Request) netip.Addr {
	if w.origin.trusted {
		return w.origin.addr
	}
	return peerAddr(r)
}

// scheme is http or https, as far as it can be known.
func (w *response) scheme(r *http.Request) string {
	switch {
	case w.origin.scheme != "":
		return strings.TrimSuffix(w.origin.scheme, "://")
	case r.TLS != nil:
		return "https"
	}
	return "http"
}

// remote is the address of the client for people, with its port if it is the peer.
func (w *response) remote(r *http.Request) string {
	if w.origin.trusted {
		return w.origin.addr.String()
	}
	return r.RemoteAddr
}

// parseHop reads an address as headers have it: alone, with a port, and an IPv6 address perhaps in brackets.
func parseHop(text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		ap, portErr := netip.ParseAddrPort(text)
		addr, err = ap.Addr(), portErr
	}
	return addr.Unmap().WithZone(""), err == nil
}

// split returns the items of a header that is a list.
func split(lines []string) (items []string) {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			items = append(items, strings.TrimSpace(item))
		}
	}
	return items
}

// first returns the first item of a header that is a list: what the proxy next to the client has written.
func first(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	item, _, _ := strings.Cut(lines[0], ",")
	return strings.TrimSpace(item)
}

// An element is what one proxy says in Forwarded.
type element struct{ addr, proto, host string }

// forwarded reads Forwarded (RFC 7239). Quotes are taken off; a comma or semicolon in them, which no address has, is taken
// for a separator.
func forwarded(lines []string) (elements []element) {
	for _, item := range split(lines) {
		var e element
		for pair := range strings.SplitSeq(item, ";") {
			key, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			value = strings.Trim(value, `"`)
			switch strings.ToLower(key) {
			case "for":
				e.addr = value
			case "proto":
				e.proto = value
			case "host":
				e.host = value
			}
		}
		elements = append(elements, e)
	}
	return elements
}

// isHost reports whether text can be a host with a port in a URL and in a header.
func isHost(text string) bool {
	return text != "" && len(text) <= 300 && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_:[]", r)
	})
}

// parseProxies reads trusted_proxies. Without any, proxies on this machine are trusted.
func parseProxies(texts []string) (prefixes []netip.Prefix, err error) {
	if texts == nil {
		texts = []string{"127.0.0.0/8", "::1"}
	}
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("trusted_proxies: %q is neither an address nor a network such as 10.0.0.0/8", text)
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

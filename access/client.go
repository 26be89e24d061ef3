package access

import "iter"

// A Client is whoever sends a request, as far as that is proved. The zero Client may do nothing.
type Client struct {
	user   string  // "" if the client has not logged in
	free   bool    // nobody is asked who he is
	policy *policy // nil if the token says it all
	token  grants  // what its token is for; nil if it came without one
	mark   string  // of the password that it has shown
}

// User returns the name of a client that has logged in, or "".
func (c Client) User() string { return c.user }

// Known reports whether the client has shown a password or a token.
func (c Client) Known() bool { return c.free || c.user != "" || c.token != nil }

// HasToken reports whether the client came with a token. Another one may allow it more.
func (c Client) HasToken() bool { return c.token != nil }

// May reports whether the client may do all of need. A token allows what it is for, as far as the rules still do.
func (c Client) May(need Scope) bool {
	switch {
	case c.free:
		return true
	case c.token != nil && !c.token.cover(need):
		return false
	case c.policy == nil:
		return c.token != nil
	}
	return c.policy.allows(c.user, need)
}

// Pulls returns a function that reports whether the client may pull from a repository; nil if it may from all.
func (c Client) Pulls() func(repository string) bool {
	if c.free || c.token == nil && c.policy != nil && c.policy.all(c.user) {
		return nil
	}
	return func(repository string) bool { return c.May(Repository(repository, Pull)) }
}

// Sees returns a function that reports whether a list shows the client a repository; nil if it shows all. A list shows
// what the rules let it pull, although the token that allows the list is not for that. Whoever signs tokens without
// rules allows the list as a whole.
func (c Client) Sees() func(repository string) bool {
	switch {
	case c.free, c.policy == nil && c.token != nil, c.policy != nil && c.policy.all(c.user):
		return nil
	case c.policy == nil:
		return func(string) bool { return false }
	}
	return func(repository string) bool { return c.policy.may(c.user, Pull, repository) }
}

// Spans are where all names are that Sees reports true for: each from one name on and before another, in byte order. Outside
// of them nobody has to look.
func (c Client) Spans() iter.Seq2[string, string] {
	return func(yield func(from, before string) bool) {
		if c.policy == nil {
			return
		}
		for _, s := range c.policy.spans(c.user) {
			if !yield(s.from, s.before) {
				return
			}
		}
	}
}

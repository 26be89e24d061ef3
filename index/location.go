package index

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// A location is where a database is: an SQLite file, or a PostgreSQL server.
type location struct {
	path string // empty for a temporary file
	url  string // empty for a file
}

// system is what OpenTelemetry calls the kind of database.
func (l location) system() string {
	if l.url == "" {
		return "sqlite"
	}
	return "postgresql"
}

// errURL does not repeat what it complains about, in which there may be a password.
var errURL = errors.New("not the URL of a PostgreSQL database, which is postgres://user:password@host:port/database " +
	"with %XX for each character of the password that is neither a letter nor a digit")

// locate reads a path or a URL. Those of SQLAlchemy are understood, which names the driver after a plus and has three
// slashes before a relative path.
func locate(database string) (location, error) {
	scheme, rest, ok := strings.Cut(database, "://")
	if !ok {
		return location{path: database}, nil
	}
	switch name, _, _ := strings.Cut(scheme, "+"); name {
	case "sqlite":
		path, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "?")
		if path == ":memory:" {
			path = ""
		}
		return location{path: path}, nil
	case "postgres", "postgresql":
		u, err := url.Parse("postgres://" + rest)
		if err != nil || strings.Contains(u.Path, "@") { // a slash in the password ends the host too early
			return location{}, errURL
		}
		return location{url: u.String()}, nil
	default:
		return location{}, fmt.Errorf("%q is no kind of database that is known here: give the path of an SQLite file, "+
			"or a postgres:// URL", scheme)
	}
}

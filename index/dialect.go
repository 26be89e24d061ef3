package index

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed queries.sql
var queryFile string

// A dialect is how one database differs from the other.
type dialect struct {
	name   string            // of its variants in queries.sql
	tokens *strings.Replacer // what it calls the things that the migrations leave open
	lock   string            // statement that keeps other processes from migrating until the transaction ends; may be empty
	exists string            // query for the number of tables with the name $1
}

var sqliteDialect = dialect{
	name: "sqlite",
	tokens: strings.NewReplacer(
		"{id}", "integer primary key",
		"{id used once}", "integer primary key autoincrement",
		"{text}", "text",
		"{bytes}", "blob",
		"{without rowid}", "without rowid",
	),
	exists: "select count(*) from sqlite_schema where name = $1",
}

var postgresDialect = dialect{
	name: "postgres",
	tokens: strings.NewReplacer(
		"{id}", "bigint generated always as identity primary key",
		"{id used once}", "bigint generated always as identity primary key",
		"{text}", `text collate "C"`, // in byte order, whatever the language of the database
		"{bytes}", "bytea",
		"{without rowid}", "",
	),
	lock:   fmt.Sprintf("select pg_advisory_xact_lock(%d)", applicationID),
	exists: "select count(to_regclass($1))",
}

// parseQueries splits queries.sql at its lines `-- name: …` and returns the texts for the dialect by name. A line of
// the form `-- name: … (dialect)` begins a variant. A text that is empty means that there is nothing to do.
func parseQueries(file string, d dialect) (map[string]string, error) {
	queries := make(map[string]string)
	for _, part := range strings.Split(file, "-- name: ")[1:] {
		line, text, _ := strings.Cut(part, "\n")
		name, variant, only := strings.Cut(line, " ")
		if only && variant != "("+d.name+")" {
			continue
		}
		if _, twice := queries[name]; twice {
			return nil, fmt.Errorf("query %q is there twice", name)
		}
		queries[name] = stripComments(text)
	}
	return queries, nil
}

// stripComments removes the lines that are comments, such as those that begin a section of the file.
func stripComments(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "--") {
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines, ""))
}

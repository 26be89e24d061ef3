package index

import (
	"cmp"
	"context"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
)

// shippedDatabase is in every file of docker-registry, and no choice of anybody's. It would be one index for all stores,
// which is gone with the next start of the machine.
const shippedDatabase = "sqlite:////tmp/docker-registry.db"

// choose returns the database that cfg names, and the key that does. It warns of one that is not used.
func (cfg Config) choose(ctx context.Context, log *slog.Logger) (database, key string) {
	const newKey, oldKey = "index_database", "sqlalchemy_index_database"
	database = cmp.Or(cfg.Database, cfg.Default)
	old := cfg.OldDatabase
	if cfg.Database != "" || cfg.Default == "" || old == "" || old == shippedDatabase {
		return database, newKey
	}
	switch at, err := locate(old); {
	case err == errURL:
		return old, oldKey
	case err != nil:
		log.Warn("sqlalchemy_index_database names a kind of database that is none for an index", "index_database", database)
	case at == location{}: // in memory
	case at.url == "" && isSearch(ctx, at.path):
		log.Warn("sqlalchemy_index_database is the search database of docker-registry, which is left alone", "index_database", database)
	default:
		return old, oldKey
	}
	return database, newKey
}

// isSearch reports whether the file at path is the search database of a docker-registry. It does not alter the file, which
// nobody else may be writing to.
func isSearch(ctx context.Context, path string) bool {
	abs, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	if _, err := os.Stat(abs); err != nil {
		return false
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: abs, RawQuery: "mode=ro&immutable=1"}
	db, err := openURL(u, 1)
	if err != nil {
		return false
	}
	defer db.Close()
	var columns int
	err = db.QueryRowContext(ctx, "select count(*) from pragma_table_info('repository') where name in ('id', 'name', 'description')").Scan(&columns)
	return err == nil && columns == 3
}

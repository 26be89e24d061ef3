package index

import (
	"context"
	"database/sql"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Tags returns up to n tags of a repository that sort after last, in byte order. The error is ErrNotFound if there is
// no such repository.
func (db *DB) Tags(ctx context.Context, repo, last string, n int) ([]string, error) {
	names, err := collect(db.ask(ctx, "tags", repo, last, n), func(row scanner) (name sql.NullString, err error) {
		err = row.Scan(&name)
		return name, err
	})
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, ErrNotFound
	}
	tags := make([]string, 0, len(names))
	for _, name := range names {
		if name.Valid { // the one that is null says that there is such a repository
			tags = append(tags, name.String)
		}
	}
	return tags, nil
}

// putTag makes the tag point to d. It is added first, if it is new, so that of those who do that at once each one finds
// what the one before it has left.
func (t *tx) putTag(id int64, tag string, d digest.Digest) {
	t.do("add-tag", id, tag, pack(d), now())
	t.do("untag-former", id, tag, pack(d), now())
	t.do("move-tag", id, tag, pack(d), now())
}

// RemoveTag takes a tag from a repository; the manifest stays. The error is ErrNotFound if there is none.
func (db *DB) RemoveTag(ctx context.Context, repo, tag string) ([]Change, error) {
	return db.update(ctx, "remove-tag", repo, func(t *tx) error {
		t.do("untag-tagged", repo, tag, now())
		removed, err := t.exec("delete-tag", repo, tag)
		if err != nil {
			return err
		}
		if removed == 0 {
			return ErrNotFound
		}
		t.post(repo, Tag, tag, State{})
		return nil
	})
}

// Repositories returns up to n repositories with manifests whose names sort after last, in byte order.
func (db *DB) Repositories(ctx context.Context, last string, n int) ([]string, error) {
	return collect(db.ask(ctx, "repositories", last, n), scanText)
}

// A Found is a repository that a search has found.
type Found struct{ Name, Description string }

// Search returns up to n repositories with manifests, from the offset-th on, whose name or description contains term
// in whatever case, and how many there are in all.
func (db *DB) Search(ctx context.Context, term string, n, offset int) (found []Found, total int, err error) {
	found, err = collect(db.ask(ctx, "search", likeness(term), n, offset), func(row scanner) (f Found, err error) {
		err = row.Scan(&f.Name, &f.Description, &total)
		return f, err
	})
	return found, total, err
}

// SearchBetween returns the first n of those that Search finds whose names are not before from, but before before, in byte
// order.
func (db *DB) SearchBetween(ctx context.Context, term, from, before string, n int) ([]Found, error) {
	return collect(db.ask(ctx, "search-between", likeness(term), from, before, n), func(row scanner) (f Found, err error) {
		err = row.Scan(&f.Name, &f.Description)
		return f, err
	})
}

// likeness is a pattern of SQL for what contains term.
func likeness(term string) string {
	escape := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)
	return "%" + escape.Replace(strings.ToLower(term)) + "%"
}

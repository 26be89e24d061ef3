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
	rows, err := db.rows(ctx, "tags", repo, last, n)
	names, err := collect(rows, err, func(row scanner) (name sql.NullString, err error) {
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
		if name.Valid { // a repository without tags is one row without one
			tags = append(tags, name.String)
		}
	}
	return tags, nil
}

// putTag makes the tag point to d.
func (t *tx) putTag(id int64, repo, tag string, d digest.Digest) (Entry, error) {
	if _, err := t.exec("put-tag", id, tag, pack(d), now()); err != nil {
		return Entry{}, err
	}
	return t.post(repo, Tag, tag)
}

// RemoveTag takes a tag from a repository; the manifest stays. The error is ErrNotFound if there is none.
func (db *DB) RemoveTag(ctx context.Context, repo, tag string) (entries []Entry, err error) {
	err = db.update(ctx, "remove-tag", repo, func(t *tx) error {
		id, err := t.repositoryID(repo)
		if err != nil {
			return err
		}
		e, err := t.removeTag(id, repo, tag)
		entries = []Entry{e}
		return err
	})
	return entries, err
}

func (t *tx) removeTag(id int64, repo, tag string) (Entry, error) {
	removed, err := t.exec("delete-tag", id, tag)
	if err != nil {
		return Entry{}, err
	}
	if removed == 0 {
		return Entry{}, ErrNotFound
	}
	return t.post(repo, Tag, tag)
}

// removeTags takes all tags that point to d.
func (t *tx) removeTags(id int64, repo string, d digest.Digest) (entries []Entry, err error) {
	rows, err := t.rows("tags-of-manifest", id, pack(d))
	tags, err := collect(rows, err, scanText)
	if err != nil {
		return nil, err
	}
	for _, tag := range tags {
		e, err := t.removeTag(id, repo, tag)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Repositories returns up to n repositories with manifests whose names sort after last, in byte order.
func (db *DB) Repositories(ctx context.Context, last string, n int) ([]string, error) {
	rows, err := db.rows(ctx, "repositories", last, n)
	return collect(rows, err, scanText)
}

// A Found is a repository that a search has found.
type Found struct{ Name, Description string }

// Search returns up to n repositories with manifests, from the offset-th on, whose name or description contains term
// in whatever case, and how many there are in all.
func (db *DB) Search(ctx context.Context, term string, n, offset int) (found []Found, total int, err error) {
	escape := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)
	rows, err := db.rows(ctx, "search", "%"+escape.Replace(strings.ToLower(term))+"%", n, offset)
	found, err = collect(rows, err, func(row scanner) (f Found, err error) {
		err = row.Scan(&f.Name, &f.Description, &total)
		return f, err
	})
	return found, total, err
}

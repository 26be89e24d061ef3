package index

import "context"

// SigningKeys returns the keys that sign tokens, by their ids.
func (db *DB) SigningKeys(ctx context.Context) (map[string][]byte, error) {
	type signingKey struct {
		id  string
		key []byte
	}
	rows, err := db.rows(ctx, "signing-keys")
	all, err := collect(rows, err, func(row scanner) (k signingKey, err error) {
		err = row.Scan(&k.id, &k.key)
		return k, err
	})
	keys := make(map[string][]byte, len(all))
	for _, k := range all {
		keys[k.id] = k.key
	}
	return keys, err
}

// AddSigningKey keeps a key. One that has the id already stays.
func (db *DB) AddSigningKey(ctx context.Context, id string, key []byte) error {
	return db.commit(ctx, "add-signing-key", true, func(t *tx) error {
		_, err := t.exec("insert-signing-key", id, key, now())
		return err
	})
}

// RemoveSigningKey forgets a key. That there is none is no error.
func (db *DB) RemoveSigningKey(ctx context.Context, id string) error {
	return db.commit(ctx, "remove-signing-key", true, func(t *tx) error {
		_, err := t.exec("delete-signing-key", id)
		return err
	})
}

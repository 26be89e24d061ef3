package index

import "context"

// SigningKeys returns the keys that sign tokens, by their ids.
func (db *DB) SigningKeys(ctx context.Context) (map[string][]byte, error) {
	type signingKey struct {
		id  string
		key []byte
	}
	all, err := collect(db.ask(ctx, "signing-keys"), func(row scanner) (k signingKey, err error) {
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
	return db.commit(ctx, "add-signing-key", mode{durable: true}, func(t *tx) error {
		t.do("insert-signing-key", id, key, now())
		return nil
	})
}

// RemoveSigningKey forgets a key. That there is none is no error.
func (db *DB) RemoveSigningKey(ctx context.Context, id string) error {
	return db.commit(ctx, "remove-signing-key", mode{durable: true}, func(t *tx) error {
		t.do("delete-signing-key", id)
		return nil
	})
}

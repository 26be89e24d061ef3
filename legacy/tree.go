package legacy

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/registry"
)

// ErrNone says that a store has nothing of a docker-registry 0.x in it.
var ErrNone = errors.New("there is neither a folder images nor a folder repositories, as docker-registry 0.x has them")

// A Tree is what is in an old store: its repositories with their tags. [Scan] makes one.
type Tree struct {
	source Source
	repos  []*repository
	odd    []oddity
}

// An oddity is something that is not where the old registry would have put it, or under no name that it would have had.
type oddity struct {
	key string
	err error
}

type repository struct {
	name    string   // namespace/name
	dir     string   // key of its folder, with the slash at its end
	files   []string // that hold a tag, or look like it
	private bool
	to      registry.Name // what it becomes
	err     error         // why it becomes nothing
}

// Scan lists the repositories of an old store. The error is ErrNone if it is none.
func Scan(ctx context.Context, source Source) (*Tree, error) {
	t := &Tree{source: source}
	for o, err := range source.List(ctx, "repositories/", "") {
		if err != nil {
			return nil, err
		}
		t.add(o.Key)
	}
	if len(t.repos) > 0 || len(t.odd) > 0 {
		return t, nil
	}
	for _, err := range source.List(ctx, "images/", "") {
		return t, err
	}
	return nil, ErrNone
}

// add takes note of an object below repositories/. The objects of a repository come one after the other.
func (t *Tree) add(key string) {
	parts := strings.Split(key, "/")
	file := parts[len(parts)-1]
	tag, private := strings.HasPrefix(file, "tag_"), file == "_private"
	if !tag && !private {
		return
	}
	if len(parts) != 4 {
		t.odd = append(t.odd, oddity{key, errors.New("not at namespace/repository/tag")})
		return
	}
	dir := strings.TrimSuffix(key, file)
	if n := len(t.repos); n == 0 || t.repos[n-1].dir != dir {
		name, err := repositoryName(parts[1], parts[2])
		if err != nil {
			t.odd = append(t.odd, oddity{key, err})
			return
		}
		r := &repository{name: name, dir: dir}
		r.to, r.err = registry.ParseName(strings.TrimPrefix(name, "library/"))
		t.repos = append(t.repos, r)
	}
	r := t.repos[len(t.repos)-1]
	r.private = r.private || private
	if tag {
		r.files = append(r.files, file)
	}
}

// repositoryName undoes the quoting of keys: once of the namespace, and twice of the rest, as it was done.
func repositoryName(namespace, rest string) (string, error) {
	namespace, err := url.QueryUnescape(namespace)
	if err != nil {
		return "", err
	}
	for range 2 {
		if rest, err = url.QueryUnescape(rest); err != nil {
			return "", err
		}
	}
	return namespace + "/" + rest, nil
}

// Rename has the repository from, by its old name with its namespace, become to.
func (t *Tree) Rename(from, to string) error {
	name, err := registry.ParseName(to)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(t.repos, func(r *repository) bool { return r.name == from })
	if i < 0 {
		return fmt.Errorf("there is no repository %q to be renamed; names have a namespace, such as library", from)
	}
	t.repos[i].to, t.repos[i].err = name, nil
	return nil
}

// checkTargets finds repositories that would become one.
func (t *Tree) checkTargets() {
	taken := make(map[registry.Name]string)
	for _, r := range t.repos {
		if r.err != nil {
			continue
		}
		if other, ok := taken[r.to]; ok {
			r.err = fmt.Errorf("%s has become %s already: rename one of the two", other, r.to)
			continue
		}
		taken[r.to] = r.name
	}
}

// A tag is a name for an image of a repository.
type tag struct {
	name string
	id   string // of the image
	err  error  // a [*Problem], if it is none
}

// readsAtOnce bounds how many small objects are read at the same time.
const readsAtOnce = 16

// tags reads the tags of r.
func (t *Tree) tags(ctx context.Context, r *repository) ([]tag, error) {
	tags := make([]tag, len(r.files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)
	for i, file := range r.files {
		g.Go(func() (err error) {
			tags[i], err = t.tag(ctx, r.dir, file)
			return err
		})
	}
	err := g.Wait()
	return slices.DeleteFunc(tags, func(t tag) bool { return t == tag{} }), err
}

// tag reads one tag. It returns nothing for what looks like one by its name only: what is known of the tag _x is in
// tag__x_json.
func (t *Tree) tag(ctx context.Context, dir, file string) (tag, error) {
	quoted := strings.TrimPrefix(file, "tag_")
	text, err := readAll(ctx, t.source, dir+file)
	if isProblem(err) {
		return tag{quoted, "", err}, nil
	}
	if err != nil {
		return tag{}, err
	}
	id := strings.TrimSpace(string(text))
	if strings.HasSuffix(file, "_json") && strings.HasPrefix(id, "{") {
		return tag{}, nil
	}
	name, err := url.QueryUnescape(quoted)
	if err != nil {
		return tag{quoted, "", &Problem{err}}, nil
	}
	if !validID(id) {
		return tag{name, "", problem("%s%s: %.70q is no image id", dir, file, id)}, nil
	}
	if err := registry.ParseTag(name); err != nil {
		return tag{name, "", &Problem{err}}, nil
	}
	return tag{name, id, nil}, nil
}

// validID reports whether s is the id of an image: 64 hexadecimal digits, or 16 as the first clients had them.
func validID(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 64 || len(s) == 16
}

package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Results hold every measurement, by scenario and target.
type results struct {
	scenarios []scenario
	targets   []*target // the base first
	values    map[cell][]float64
	cpu       map[cell][]float64
	failures  map[cell]bool
	memory    map[string]int64 // peak bytes by target
}

type cell struct{ scenario, target string }

func newResults(o *options, targets []*target) *results {
	sorted := slices.Clone(targets)
	slices.SortStableFunc(sorted, func(a, b *target) int {
		return cmp.Compare(btoi(b.name == o.base), btoi(a.name == o.base))
	})
	return &results{o.scenarios, sorted, map[cell][]float64{}, map[cell][]float64{}, map[cell]bool{}, map[string]int64{}}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (r *results) add(s scenario, t *target, m measurement) {
	c := cell{s.name, t.name}
	r.values[c] = append(r.values[c], m.value)
	if m.cpu > 0 {
		r.cpu[c] = append(r.cpu[c], m.cpu)
	}
}

// Fail leaves a target's cells of a scenario empty: medians of fewer rounds than the others had compare to nothing.
func (r *results) fail(s scenario, t *target) {
	c := cell{s.name, t.name}
	r.failures[c] = true
	delete(r.values, c)
	delete(r.cpu, c)
}

func (r *results) failed(s scenario, t *target) bool { return r.failures[cell{s.name, t.name}] }

func (r *results) readMemory() {
	for _, t := range r.targets {
		r.memory[t.name] = peakMemory(t.pid)
	}
}

// Median is the middle value, or the mean of the two in the middle; NaN of nothing.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// Percentile is the value that p of 100 do not exceed; NaN of nothing.
func percentile(values []float64, p int) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return slices.Sorted(slices.Values(values))[(len(values)*p+99)/100-1]
}

func (u unit) format(v float64) string {
	return number(v) + [...]string{perSecond: "/s", megabytes: " MB/s", millisecond: " ms", slowest: " ms"}[u]
}

func (u unit) formatCPU(v float64) string {
	return number(v) + [...]string{perSecond: " µs", megabytes: " s/GiB", millisecond: " µs", slowest: " µs"}[u]
}

// Number prints three digits that mean something, and thousands with commas.
func number(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Write prints the tables: speed, server CPU and peak memory. What begins with × compares the base to another target.
func (r *results) write(w io.Writer) {
	r.table(w, "speed", r.values, unit.format, func(u unit, base, other float64) float64 {
		if u == millisecond || u == slowest {
			return other / base
		}
		return base / other
	}, "× as fast as ")
	if len(r.cpu) > 0 {
		fmt.Fprintln(w)
		r.table(w, "server CPU for one", r.cpu, unit.formatCPU, func(_ unit, base, other float64) float64 {
			return base / other
		}, "× the CPU of ")
	}
	if cells := r.memoryCells(); cells != nil {
		fmt.Fprintln(w)
		row(w, append([]string{""}, r.names()...))
		rule(w, len(r.targets)+1)
		row(w, append([]string{"peak memory"}, cells...))
	}
}

// Table prints the medians of values, and how those of the base compare to those of each other target.
func (r *results) table(w io.Writer, title string, values map[cell][]float64, format func(unit, float64) string,
	compare func(u unit, base, other float64) float64, comparison string) {
	header := append([]string{title}, r.names()...)
	for _, t := range r.targets[1:] {
		header = append(header, comparison+t.name)
	}
	row(w, header)
	rule(w, len(header))
	for _, s := range r.scenarios {
		cells, ratios := []string{s.title}, []string{}
		base := median(values[cell{s.name, r.targets[0].name}])
		for i, t := range r.targets {
			v := median(values[cell{s.name, t.name}])
			if math.IsNaN(v) {
				cells = append(cells, "–")
			} else {
				cells = append(cells, format(s.unit, v))
			}
			if i > 0 {
				ratios = append(ratios, number(compare(s.unit, base, v)))
			}
		}
		row(w, append(cells, ratios...))
	}
}

func (r *results) names() []string {
	var names []string
	for _, t := range r.targets {
		names = append(names, t.name)
	}
	return names
}

// MemoryCells is nil if no target's memory is known.
func (r *results) memoryCells() []string {
	var cells []string
	known := false
	for _, t := range r.targets {
		text := "–"
		if n := r.memory[t.name]; n > 0 {
			known, text = true, number(float64(n)/(1<<20))+" MiB"
		}
		cells = append(cells, text)
	}
	if !known {
		return nil
	}
	return cells
}

func row(w io.Writer, cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }

func rule(w io.Writer, columns int) {
	fmt.Fprintf(w, "|---%s\n", strings.Repeat("|---:", columns-1)+"|")
}

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// MeasureAll runs every scenario on every target in each round. The targets take turns within a scenario, and another
// one starts in each round, so that what else the machine does falls on all of them alike.
//
// A failure of the base ends it. A scenario in which another target fails is over for that target.
func measureAll(ctx context.Context, o *options, progress io.Writer) (*results, error) {
	targets, closeAll, err := openTargets(ctx, o)
	defer closeAll()
	if err != nil {
		return nil, err
	}
	res := newResults(o, targets)
	r := &round{limits: o.limits, forge: newForge()}
	for r.number = 1; r.number <= o.rounds; r.number++ {
		for _, s := range o.scenarios {
			for i := range targets {
				t := targets[(i+r.number-1)%len(targets)]
				if t.empty && !s.onEmpty || res.failed(s, t) {
					continue
				}
				m, err := measure(ctx, s, r, t)
				outcome := m.String()
				switch {
				case err == nil:
					res.add(s, t, m)
				case t.name == o.base || ctx.Err() != nil:
					return nil, fmt.Errorf("%s on %s: %w", s.name, t.name, err)
				default:
					res.fail(s, t)
					t.prepared = prepared{} // it may be there in part
					outcome = fmt.Sprintf("failed, not tried again: %v", err)
				}
				fmt.Fprintf(progress, "round %d: %-15s %-14s %s\n", r.number, s.name, t.name, outcome)
			}
		}
	}
	res.readMemory()
	return res, nil
}

// OpenTargets reads the targets and starts the empty handler. CloseAll is to be called even after an error.
func openTargets(ctx context.Context, o *options) (targets []*target, closeAll func(), err error) {
	stop := func() {}
	closeAll = func() {
		for _, t := range targets {
			t.http.CloseIdleConnections()
		}
		stop()
	}
	for _, arg := range o.targets {
		name, address, named := strings.Cut(arg, "=")
		pid := o.pids[name]
		if !named {
			if name != "empty" {
				return targets, closeAll, fmt.Errorf("no URL in %q: write name=url", arg)
			}
			if address, pid, stop, err = startEmpty(ctx); err != nil {
				return targets, closeAll, err
			}
		}
		t, err := newTarget(name, address)
		if err != nil {
			return targets, closeAll, err
		}
		t.pid, t.empty = pid, !named
		targets = append(targets, t)
		resetPeakMemory(pid)
		if _, _, err := t.exchange(ctx, "GET", "/v2/", nil, nil, 200); err != nil {
			return targets, closeAll, err
		}
	}
	return targets, closeAll, nil
}

// A measurement is what one run of a scenario on one target came to.
type measurement struct {
	unit  unit
	value float64 // in the unit
	cpu   float64 // microseconds of the server an operation, or seconds a GiB; 0: not known
}

func (m measurement) String() string {
	s := m.unit.format(m.value)
	if m.cpu > 0 {
		s += ", CPU " + m.unit.formatCPU(m.cpu)
	}
	return s
}

// Patience is how long a measurement may take, so that a server that does not answer ends.
const patience = 30 * time.Minute

func measure(ctx context.Context, s scenario, r *round, t *target) (measurement, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if s.prepare != nil {
		if err := s.prepare(ctx, r, t); err != nil {
			return measurement{}, fmt.Errorf("prepare: %w", err)
		}
	}
	settle()
	before, err := cpuTime(t.pid)
	if err != nil {
		return measurement{}, err
	}
	w, err := s.measure(ctx, r, t)
	if err != nil {
		return measurement{}, err
	}
	after, err := cpuTime(t.pid)
	return s.unit.measurement(w, after-before), err
}

func (u unit) measurement(w work, cpu time.Duration) measurement {
	m := measurement{unit: u}
	seconds := w.elapsed.Seconds()
	switch u {
	case megabytes:
		m.value = float64(w.bytes) / 1e6 / seconds
		m.cpu = cpu.Seconds() / float64(w.bytes) * (1 << 30)
	case perSecond:
		m.value = float64(w.ops) / seconds
		m.cpu = float64(cpu.Microseconds()) / float64(w.ops)
	case millisecond:
		m.value = median(w.latency)
		m.cpu = float64(cpu.Microseconds()) / float64(w.ops)
	case slowest:
		m.value = percentile(w.latency, 99)
		m.cpu = float64(cpu.Microseconds()) / float64(w.ops)
	}
	return m
}

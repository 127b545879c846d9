// Package parts makes one program out of several, as busybox does: it behaves as the part whose name it was called by.
//
// With EXIT_WITH_STDIN=1 in the environment it exits as soon as standard input ends. A parent that holds the other end
// of that pipe takes its children along whichever way it goes, SIGKILL included, because the kernel closes the pipe.
package parts

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Run becomes one of the parts and never returns. The functions return the exit code.
func Run(parts map[string]func() int) {
	name := filepath.Base(os.Args[0])
	run, known := parts[name]
	if !known {
		fmt.Fprintf(os.Stderr, "%q is not a part of this program, which behaves as what it is called. "+
			"Link it under one of these names and run the link:\n\n  %s\n",
			name, strings.Join(slices.Sorted(maps.Keys(parts)), "\n  "))
		os.Exit(2)
	}
	if os.Getenv("EXIT_WITH_STDIN") == "1" {
		go exitWithStdin()
	}
	os.Exit(run())
}

// exitWithStdin waits for standard input to end and ends the process at once: what the parts have stored is thrown
// away, so nothing needs to be shut down in order.
func exitWithStdin() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

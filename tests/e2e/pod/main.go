// Package main is everything that runs on the node of `make e2e` beside the operator, in one static program for images
// made FROM scratch:
//
//	pod pause   keeps a pod's namespaces, as Kubernetes' own pause does
//	pod call    a workload: calls the product's API with the mounted token again and again, and counts
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fail("say what to be: pause or call")
	}
	switch os.Args[1] {
	case "pause":
		pause()
	case "call":
		call()
	default:
		fail("no such part: " + os.Args[1])
	}
}

func fail(why any) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}

func ends() chan os.Signal {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	return end
}

// pause waits, and reaps what is left to it.
func pause() {
	end, child := ends(), make(chan os.Signal, 16)
	signal.Notify(child, syscall.SIGCHLD)
	for {
		select {
		case <-end:
			return
		case <-child:
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
					break
				}
			}
		}
	}
}

// call is a workload as the README asks for: it reads the mounted files for every request. Every token that it sees
// gets a number, which is printed instead of it.
func call() {
	const folder, every = "/var/run/zoho", 200 * time.Millisecond
	client := &http.Client{Timeout: 5 * time.Second}
	tokens := map[string]int{}
	calls, failed, current := 0, 0, 0
	say := func(format string, values ...any) {
		fmt.Printf("%s %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), fmt.Sprintf(format, values...))
	}
	end, ticks := ends(), time.NewTicker(every)
	for {
		authorization, err := read(folder, "authorization")
		if err == nil {
			number, known := tokens[authorization]
			if !known {
				number = len(tokens) + 1
				tokens[authorization] = number
			}
			if number != current {
				current = number
				say("token %d", number)
			}
			err = ask(client, folder, authorization)
		}
		calls++
		if err != nil {
			failed++
			say("failed %v", err)
		}
		if calls%25 == 0 {
			say("calls %d failed %d", calls, failed)
		}
		select {
		case <-end:
			say("calls %d failed %d", calls, failed)
			return
		case <-ticks.C:
		}
	}
}

func ask(client *http.Client, folder, authorization string) error {
	base, err := read(folder, "api_url")
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodGet, base+"/api/1.4/patch/summary", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", authorization)
	reply, err := client.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if _, err := io.Copy(io.Discard, reply.Body); err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", reply.Status)
	}
	return nil
}

func read(folder, name string) (string, error) {
	content, err := os.ReadFile(filepath.Join(folder, name))
	return string(content), err
}

// Asks Patch Manager Plus for its summary once a minute, with the token Secret mounted at /var/run/zoho.
//
// The files are read for every request: the token is renewed at least every hour, and the mounted files follow.
package main

import (
	"cmp"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

var (
	folder = cmp.Or(os.Getenv("ZOHO_FOLDER"), "/var/run/zoho")
	client = &http.Client{Timeout: 30 * time.Second}
)

func get(path string) (string, error) {
	base, err := os.ReadFile(filepath.Join(folder, "api_url"))
	if err != nil {
		return "", err
	}
	authorization, err := os.ReadFile(filepath.Join(folder, "authorization"))
	if err != nil {
		return "", err
	}
	request, err := http.NewRequest(http.MethodGet, string(base)+path, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", string(authorization))
	reply, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", reply.Status, body)
	}
	return string(body), err
}

func main() {
	interval, err := time.ParseDuration(cmp.Or(os.Getenv("INTERVAL"), "60") + "s")
	if err != nil {
		log.Fatal(err)
	}
	for {
		if summary, err := get("/api/1.4/patch/summary"); err != nil {
			log.Print(err)
		} else {
			fmt.Println(summary)
		}
		time.Sleep(interval)
	}
}

// Command hostler-worker is the library that workers load into Python. It is
// built with -buildmode=c-shared and embedded into the hostler binary.
package main

import _ "hostler/worker/python" // all of it is there

func main() {}

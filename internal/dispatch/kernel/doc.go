// Package kernel is the machine that this process runs on, made of the kernel's interfaces.
package kernel

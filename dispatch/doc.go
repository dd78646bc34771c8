// Package dispatch carries out a copy between two block devices: it plans which
// bytes a device can copy by itself and which go through the host, holds the
// layout of the destination still while commands write underneath, and says
// afterwards which bytes went which way, and why.
//
// A copy is cut into windows. Each window is held, compared with the plan,
// issued, compared again and released; what could not be offloaded, or failed,
// is then copied through the top of both stacks. A changed layout makes the
// rest of the copy be planned again.
package dispatch

// Package e2e drives the examples in a real browser. It has tests only: they
// build and start the programs, open their pages in headless Chromium, and look
// at what a person would see. Without Chromium they are skipped, except where
// $CI is set.
package e2e

package main

import "fmt"

// sample is one of the services that the lab pretends to host.
type sample struct {
	// Name is the service's name on the tailnet, a DNS label.
	Name, Title, Icon, Tagline string
	// Hue of its colours, in degrees.
	Hue int
	// Layout of Items: "tiles" or "list".
	Layout string
	Items  []string
}

// samples are the kinds of things that people run at home.
var samples = []sample{
	{"photos", "Photo wall", "📷", "1,204 pictures, 12 albums, nobody else's cloud", 265, "tiles",
		[]string{"Lake in March", "Grandma's 80th", "The new bike", "Night train", "Snow, finally", "Market day"}},
	{"feeds", "Feed reader", "📰", "38 feeds, 17 unread", 25, "list",
		[]string{"A small tool that does one thing", "What we learned from a year of backups", "Notes on a quiet release", "The map is not the network"}},
	{"wiki", "Household wiki", "📖", "How everything here works, and where the fuse box is", 210, "list",
		[]string{"Heating: what the three buttons do", "Guest Wi-Fi", "Where we keep the spare keys", "Recycling calendar"}},
	{"music", "Music library", "🎵", "612 albums, lossless", 330, "tiles",
		[]string{"Evening tape", "Live in the kitchen", "Piano, mostly", "Field recordings", "Dub for dishes", "Loud"}},
	{"recipes", "Recipe box", "🍲", "What to cook with what is left", 95, "tiles",
		[]string{"Lentil soup", "Plum cake", "Weeknight curry", "Sourdough, again", "Pickles", "Pancakes"}},
	{"tasks", "Task board", "✅", "4 due today, 2 of them since Tuesday", 170, "list",
		[]string{"Fix the gate", "Renew the passport", "Call about the roof", "Water the plants"}},
	{"books", "Bookshelf", "📚", "Read 31 of 214, started 9", 15, "tiles",
		[]string{"Invisible Cities", "The Peripheral", "Momo", "A Pattern Language", "Solaris", "Stoner"}},
	{"budget", "Budget", "💶", "All accounts, up to yesterday", 140, "list",
		[]string{"Groceries: 312 of 400", "Energy: 96 of 120", "Books: 71 of 40", "Savings: on track"}},
	{"cameras", "Cameras", "🎥", "Two outdoors, none indoors", 195, "tiles",
		[]string{"Front door: a parcel", "Garden: a hedgehog"}},
	{"weather", "Weather station", "⛅", "The one on our own roof", 220, "list",
		[]string{"11.4 °C, falling", "1009 hPa", "Wind from the west, 14 km/h", "0.2 mm since midnight"}},
	{"notes", "Notes", "📝", "Plain text, synced", 48, "list",
		[]string{"Ideas for the shed", "Gift list", "Things the dentist said", "Password hints (no, really, none)"}},
	{"printer", "3D printer", "🧵", "Idle, bed at 24 °C", 290, "list",
		[]string{"hook-v3.gcode: done", "planter.gcode: done", "bracket.gcode: spaghetti"}},
}

// sampleAt is the i-th sample service, from 0. There are as many as wanted: they repeat with a number in the name.
func sampleAt(i int) sample {
	s := samples[i%len(samples)]
	if round := i/len(samples) + 1; round > 1 {
		s.Name = fmt.Sprintf("%s-%d", s.Name, round)
		s.Title = fmt.Sprintf("%s %d", s.Title, round)
		s.Hue = (s.Hue + 37*(round-1)) % 360
	}
	return s
}

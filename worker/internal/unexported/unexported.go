// Package unexported reaches what libraries keep to themselves, where there is no other way. What the worker needs of that is in
// graft, which knows what is lost without it.
package unexported

import "reflect"

// Field gives a field of the struct that this points to. It is not ok in a version that is
// made otherwise; what it is needed for is then left out.
func Field(of any, name string) (field reflect.Value, ok bool) {
	value := reflect.ValueOf(of)
	if value.Kind() != reflect.Pointer || value.Elem().Kind() != reflect.Struct {
		return reflect.Value{}, false
	}
	field = value.Elem().FieldByName(name)
	if !field.IsValid() {
		return reflect.Value{}, false
	}
	return reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem(), true
}

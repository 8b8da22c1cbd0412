package node

import "reflect"

// unexported gives a field that tailscale keeps to itself, of the struct that this points to. It is not ok in a version that is
// made otherwise; what it is needed for is then left out.
func unexported(of any, name string) (field reflect.Value, ok bool) {
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

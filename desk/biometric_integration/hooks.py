"""What Frappe asks of an app."""

app_name = "biometric_integration"
app_title = "Biometric Integration"
app_publisher = "Punchstream"
app_description = "Biometric devices and whose number is whose, kept in ERPNext and read by Punchstream"
app_license = "gpl-3.0"
required_apps = ["frappe/erpnext", "frappe/hrms"]

after_uninstall = "biometric_integration.uninstall.after_uninstall"

doctype_js = {"Employee Checkin": "public/js/employee_checkin.js"}
doc_events = {"Shift Type": {"validate": "biometric_integration.shift_settings.validate"}}
has_permission = {
    "Attendance Raw Log": (
        "biometric_integration.biometric_integration.doctype.attendance_raw_log.attendance_raw_log.has_permission"
    ),
}

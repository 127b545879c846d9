//! The table of products. A row holds what is known; see the module above for what is left out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Hosts::{Gateway, Listed, ManageEngine, Unknown, Zoho};
use super::Says::{Busy, MayNot, NoToken, Refused, ScopeMissing};
use super::{Facts, Probe};
use crate::DataCenter::{self, AE, AU, CA, CN, EU, IN, JP, SA, SG, UK, US};

macro_rules! products {
    ($($name:ident $facts:tt)+) => {
        /// A product with an API that takes the token.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Product {
            $(
                #[doc = concat!("`", stringify!($name), "` of the table.")]
                $name,
            )+
        }

        impl Product {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// What is known of it.
            pub const fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$name => const { &Facts $facts },)+
                }
            }
        }
    };
}

/// Most of Zoho's products.
const EIGHT: &[DataCenter] = &[US, EU, IN, AU, CN, JP, CA, SA];
const EIGHT_AND_AE: &[DataCenter] = &[US, EU, IN, AU, CN, JP, CA, SA, AE];
const EIGHT_AND_UK: &[DataCenter] = &[US, EU, IN, AU, CN, JP, CA, SA, UK];
const EIGHT_AE_AND_SG: &[DataCenter] = &[US, EU, IN, AU, CN, JP, CA, SA, AE, SG];
const ALL: &[DataCenter] = &[US, EU, IN, AU, CN, JP, CA, SA, UK, AE, SG];

const SERVICE_DESK: Probe = Probe {
    query: Some(r#"input_data={"list_info":{"row_count":1}}"#),
    accept: Some("application/vnd.manageengine.sdp.v3+json"),
    codes: &[("4002", MayNot)],
    statuses: &[(403, MayNot)],
    ..Probe::get("/api/v3/requests", &["SDPOnDemand.requests.READ"])
};

products! {
    PatchManagerPlus {
        title: "Patch Manager Plus Cloud",
        hosts: ManageEngine("patch", EIGHT_AND_UK),
        probe: Some(Probe::get(
            "/api/1.4/patch/summary",
            &["PatchManagerPlusCloud.Common.READ", "PatchManagerPlusCloud.PatchMgmt.READ"],
        )),
        scopes: &["PatchManagerPlusCloud.Common.READ", "PatchManagerPlusCloud.PatchMgmt.READ"],
        documentation: None,
    }
    EndpointCentral {
        title: "Endpoint Central (formerly Desktop Central) Cloud",
        hosts: ManageEngine("endpointcentral", EIGHT_AND_UK),
        probe: Some(Probe::get(
            "/api/1.4/som/summary",
            &["DesktopCentralCloud.Common.READ", "DesktopCentralCloud.SOM.READ"],
        )),
        scopes: &["DesktopCentralCloud.Common.READ", "DesktopCentralCloud.SOM.READ"],
        documentation: Some(
            "https://www.manageengine.com/products/desktop-central/help/api/cloud/oauth-authentication-api-scopes.html",
        ),
    }
    ServiceDeskPlus {
        title: "ServiceDesk Plus Cloud",
        hosts: Listed(&[
            (US, "sdpondemand.manageengine.com"),
            (EU, "sdpondemand.manageengine.eu"),
            (IN, "sdpondemand.manageengine.in"),
            (AU, "servicedeskplus.net.au"),
            (CN, "servicedeskplus.cn"),
            (JP, "servicedeskplus.jp"),
            (CA, "servicedeskplus.ca"),
            (SA, "servicedeskplus.sa"),
            (UK, "servicedeskplus.uk"),
            (AE, "servicedeskplus.ae"),
        ]),
        probe: Some(SERVICE_DESK),
        scopes: &["SDPOnDemand.requests.READ"],
        documentation: None,
    }
    ZohoCRM {
        title: "Zoho CRM",
        hosts: Gateway(EIGHT),
        probe: Some(Probe::get("/crm/v8/org", &["ZohoCRM.org.READ"])),
        scopes: &["ZohoCRM.settings.READ", "ZohoCRM.users.READ", "ZohoCRM.org.READ"],
        documentation: Some("https://www.zoho.com/crm/developer/docs/api/v8/multi-dc.html"),
    }
    ZohoDesk {
        title: "Zoho Desk",
        hosts: Zoho("desk", EIGHT_AE_AND_SG),
        probe: Some(Probe {
            codes: &[("UNAUTHORIZED", NoToken), ("FORBIDDEN", MayNot), ("LICENSE_ACCESS_LIMITED", MayNot)],
            ..Probe::get("/api/v1/organizations", &["Desk.basic.READ"])
        }),
        scopes: &["Desk.tickets.READ", "Desk.contacts.READ", "Desk.basic.READ", "Desk.search.READ"],
        documentation: Some("https://desk.zoho.com/DeskAPIDocument"),
    }
    ZohoBooks {
        title: "Zoho Books",
        hosts: Gateway(EIGHT),
        // 57 is a dead token and a missing scope.
        probe: Some(Probe {
            codes: &[("57", Refused), ("14", NoToken)],
            ..Probe::get("/books/v3/organizations", &["ZohoBooks.settings.READ"])
        }),
        scopes: &["ZohoBooks.settings.READ", "ZohoBooks.contacts.READ", "ZohoBooks.invoices.READ"],
        documentation: Some("https://www.zoho.com/books/api/v3/introduction/"),
    }
    ZohoInvoice {
        title: "Zoho Invoice",
        hosts: Gateway(EIGHT),
        probe: Some(Probe {
            codes: &[("14", NoToken)],
            ..Probe::get("/invoice/v3/organizations", &["ZohoInvoice.settings.READ"])
        }),
        scopes: &["ZohoInvoice.settings.READ", "ZohoInvoice.contacts.READ", "ZohoInvoice.invoices.READ"],
        documentation: Some("https://www.zoho.com/invoice/api/"),
    }
    ZohoInventory {
        title: "Zoho Inventory",
        hosts: Gateway(EIGHT),
        probe: Some(Probe::get("/inventory/v1/organizations", &["ZohoInventory.settings.READ"])),
        scopes: &["ZohoInventory.settings.READ", "ZohoInventory.items.READ", "ZohoInventory.salesorders.READ"],
        documentation: Some("https://www.zoho.com/inventory/api/v1/"),
    }
    ZohoProjects {
        title: "Zoho Projects",
        hosts: Zoho("projectsapi", ALL),
        probe: Some(Probe::get("/api/v3/portals", &["ZohoProjects.portals.READ"])),
        scopes: &["ZohoProjects.portals.READ", "ZohoProjects.projects.READ", "ZohoProjects.tasks.READ"],
        documentation: Some("https://projects.zoho.com/api-docs"),
    }
    ZohoPeople {
        title: "Zoho People",
        hosts: Zoho("people", EIGHT_AE_AND_SG),
        probe: Some(Probe {
            codes: &[("7213", Refused), ("7202", NoToken)],
            ..Probe::get("/people/api/forms", &["ZOHOPEOPLE.forms.READ"])
        }),
        scopes: &["ZOHOPEOPLE.forms.READ", "ZOHOPEOPLE.attendance.READ", "ZOHOPEOPLE.leave.READ"],
        documentation: Some("https://www.zoho.com/people/api/oauth-steps.html"),
    }
    ZohoRecruit {
        title: "Zoho Recruit",
        hosts: Zoho("recruit", EIGHT_AE_AND_SG),
        probe: Some(Probe {
            query: Some("type=CurrentUser"),
            ..Probe::get("/recruit/v2/users", &["ZohoRecruit.users.READ"])
        }),
        scopes: &["ZohoRecruit.modules.READ", "ZohoRecruit.users.READ", "ZohoRecruit.search.READ"],
        documentation: Some("https://www.zoho.com/recruit/developer-guide/"),
    }
    ZohoCreator {
        title: "Zoho Creator",
        hosts: Gateway(EIGHT_AND_AE),
        // 1030 is a dead token, and none at all.
        probe: Some(Probe {
            codes: &[("1030", Refused), ("4000", Busy)],
            ..Probe::get("/creator/v2.1/meta/applications", &["ZohoCreator.dashboard.READ"])
        }),
        scopes: &["ZohoCreator.dashboard.READ", "ZohoCreator.meta.application.READ", "ZohoCreator.report.READ"],
        documentation: Some("https://www.zoho.com/creator/help/api/v2.1/status-codes.html"),
    }
    ZohoAnalytics {
        title: "Zoho Analytics",
        hosts: Zoho("analyticsapi", EIGHT),
        // 8535 is a dead token and a missing scope.
        probe: Some(Probe {
            codes: &[("8535", Refused), ("8518", NoToken), ("8540", ScopeMissing), ("7301", MayNot)],
            ..Probe::get("/restapi/v2/workspaces/owned", &["ZohoAnalytics.metadata.read"])
        }),
        scopes: &["ZohoAnalytics.metadata.read", "ZohoAnalytics.data.read"],
        documentation: Some("https://www.zoho.com/analytics/api/v2/api-specification.html"),
    }
    ZohoWorkDrive {
        title: "Zoho WorkDrive",
        hosts: Gateway(EIGHT_AND_AE),
        probe: Some(Probe {
            accept: Some("application/vnd.api+json"),
            codes: &[("F7003", Refused), ("F000", Refused), ("F7004", ScopeMissing)],
            ..Probe::get("/workdrive/api/v1/users/me", &["WorkDrive.users.READ"])
        }),
        scopes: &["WorkDrive.users.READ", "WorkDrive.team.READ", "WorkDrive.files.READ"],
        documentation: Some(
            "https://www.zoho.com/workdrive/developer/docs/api/v1/getting-started-multi-dc-support.html",
        ),
    }
    ZohoSign {
        title: "Zoho Sign",
        hosts: Zoho("sign", &[US, EU, IN, AU, JP, CA, SA, UK, AE, SG]),
        probe: Some(Probe {
            codes: &[("9041", Refused), ("9031", NoToken)],
            ..Probe::get("/api/v1/accounts", &["ZohoSign.account.READ"])
        }),
        scopes: &["ZohoSign.documents.READ", "ZohoSign.templates.READ", "ZohoSign.account.READ"],
        documentation: Some("https://www.zoho.com/sign/api/getting-started-api.html"),
    }
    ZohoCliq {
        title: "Zoho Cliq",
        hosts: Zoho("cliq", EIGHT_AND_UK),
        probe: Some(Probe {
            query: Some("limit=1"),
            statuses: &[(401, NoToken)],
            ..Probe::get("/api/v2/channels", &["ZohoCliq.Channels.READ"])
        }),
        scopes: &["ZohoCliq.Channels.READ", "ZohoCliq.Users.READ", "ZohoCliq.Chats.READ"],
        documentation: Some("https://www.zoho.com/cliq/help/restapi/v2/"),
    }
    ZohoMail {
        title: "Zoho Mail",
        hosts: Zoho("mail", EIGHT_AND_AE),
        probe: Some(Probe::get("/api/accounts", &["ZohoMail.accounts.READ"])),
        scopes: &["ZohoMail.accounts.READ", "ZohoMail.folders.READ", "ZohoMail.messages.READ"],
        documentation: Some("https://www.zoho.com/mail/help/api/response-codes.html"),
    }
    ZohoBigin {
        title: "Bigin by Zoho CRM",
        hosts: Gateway(EIGHT),
        probe: Some(Probe { query: Some("per_page=1"), ..Probe::get("/bigin/v2/users", &["ZohoBigin.users.READ"]) }),
        scopes: &["ZohoBigin.modules.ALL", "ZohoBigin.users.READ", "ZohoBigin.org.READ"],
        documentation: Some("https://www.bigin.com/developer/docs/apis/multi-dc.html"),
    }
    ZohoCalendar {
        title: "Zoho Calendar",
        hosts: Zoho("calendar", EIGHT),
        probe: Some(Probe::get("/api/v1/calendars", &["ZohoCalendar.calendar.READ"])),
        scopes: &["ZohoCalendar.calendar.READ", "ZohoCalendar.event.READ"],
        documentation: None,
    }
    ZohoCampaigns {
        title: "Zoho Campaigns",
        hosts: Zoho("campaigns", EIGHT),
        // 1007 is a dead token, and none at all.
        probe: Some(Probe {
            query: Some("resfmt=JSON"),
            codes: &[("1007", Refused)],
            ..Probe::get("/api/v1.1/getmailinglists", &["ZohoCampaigns.contact.READ"])
        }),
        scopes: &["ZohoCampaigns.contact.READ", "ZohoCampaigns.campaign.READ"],
        documentation: Some("https://www.zoho.com/campaigns/help/developers/data-centers.html"),
    }
    Site24x7 {
        title: "Site24x7",
        hosts: Listed(&[
            (US, "www.site24x7.com"),
            (EU, "www.site24x7.eu"),
            (IN, "www.site24x7.in"),
            (AU, "www.site24x7.net.au"),
            (CN, "www.site24x7.cn"),
            (JP, "app.site24x7.jp"),
            (CA, "www.site24x7.ca"),
            (SA, "www.site24x7.sa"),
            (UK, "app.site24x7.uk"),
            (AE, "app.site24x7.ae"),
        ]),
        probe: Some(Probe {
            accept: Some("application/json; version=2.0"),
            codes: &[("1121", ScopeMissing)],
            ..Probe::get("/api/monitors", &[])
        }),
        scopes: &["Site24x7.Admin.Read", "Site24x7.Reports.Read", "Site24x7.Operations.Read", "Site24x7.Account.Read"],
        documentation: Some("https://www.site24x7.com/help/api/"),
    }
    MobileDeviceManagerPlus {
        title: "Mobile Device Manager Plus Cloud",
        hosts: ManageEngine("mdm", &[US]),
        probe: Some(Probe::get("/api/v1/devices", &["MDMOnDemand.MDMInventory.READ"])),
        scopes: &["MDMOnDemand.MDMInventory.READ", "MDMOnDemand.MDMDeviceMgmt.READ", "MDMOnDemand.MDMUser.READ"],
        documentation: Some("https://www.manageengine.com/mobile-device-management/api/oauth/"),
    }
    AnalyticsPlus {
        title: "Analytics Plus Cloud",
        hosts: ManageEngine("analyticsplusapi", &[US, EU, IN, AU, JP, CA, UK]),
        probe: None,
        scopes: &[],
        documentation: Some("https://www.manageengine.com/analytics-plus/cloud-help/api/api-specification.html"),
    }
    ZohoSprints {
        title: "Zoho Sprints",
        hosts: Zoho("sprintsapi", &[US, EU, IN]),
        probe: Some(Probe::get("/zsapi/teams/", &["ZohoSprints.teams.READ"])),
        scopes: &[
            "ZohoSprints.teams.READ",
            "ZohoSprints.projects.READ",
            "ZohoSprints.sprints.READ",
            "ZohoSprints.items.READ",
        ],
        documentation: None,
    }
    ZohoMeeting {
        title: "Zoho Meeting",
        hosts: Zoho("meeting", EIGHT),
        probe: Some(Probe::get("/api/v2/user", &[])),
        scopes: &[],
        documentation: Some("https://www.zoho.com/meeting/api-integration/multi-dc.html"),
    }
    ZohoBookings {
        title: "Zoho Bookings",
        hosts: Gateway(EIGHT),
        // The only scope that there is.
        probe: Some(Probe::get("/bookings/v1/json/workspaces", &["zohobookings.data.CREATE"])),
        scopes: &["zohobookings.data.CREATE"],
        documentation: Some("https://www.zoho.com/bookings/help/api/v1/domain-specificapiurls.html"),
    }
    ZohoAssist {
        title: "Zoho Assist",
        hosts: Zoho("assist", &[US]),
        probe: Some(Probe::get("/api/v2/user", &["ZohoAssist.userapi.READ"])),
        scopes: &["ZohoAssist.userapi.READ", "ZohoAssist.unattended.computer.READ"],
        documentation: Some("https://www.zoho.com/assist/api/scopes.html"),
    }
    ZohoBilling {
        title: "Zoho Billing (once Subscriptions)",
        hosts: Gateway(&[US, EU, IN, AU]),
        probe: Some(Probe::get("/billing/v1/organizations", &[])),
        scopes: &[],
        documentation: Some("https://www.zoho.com/subscriptions/api/v1/"),
    }
    ZohoCatalyst {
        title: "Catalyst by Zoho",
        hosts: Zoho("api.catalyst", &[US, EU, IN, AU, JP, CA, SA]),
        probe: None,
        scopes: &["ZohoCatalyst.projects.ALL"],
        documentation: Some("https://docs.catalyst.zoho.com/en/api/introduction/multi-dc-support/"),
    }
    // Wants the account in the query of every call, so there is no GET for everybody.
    ZohoPayments {
        title: "Zoho Payments",
        hosts: Zoho("payments", &[US, IN]),
        probe: None,
        scopes: &["ZohoPay.payments.READ", "ZohoPay.refunds.READ"],
        documentation: Some("https://www.zoho.com/us/payments/developerdocs/web-integration/org-oauth/"),
    }
    // Wants the account in a header of every call, so there is no GET for everybody.
    Log360Cloud {
        title: "Log360 Cloud",
        hosts: ManageEngine("log360cloud", &[US]),
        probe: None,
        scopes: &["logs360cloud.logfields.READ", "logs360cloud.logsources.READ", "logs360cloud.agents.READ"],
        documentation: Some("https://www.manageengine.com/cloud-siem/api/v2/metadata/"),
    }
    RemoteAccessPlus {
        title: "Remote Access Plus Cloud",
        hosts: Unknown,
        probe: Some(Probe::get("/api/1.4/som/summary", &["RemoteAccessPlusCloud.Common.READ"])),
        scopes: &["RemoteAccessPlusCloud.Common.READ", "RemoteAccessPlusCloud.SOM.READ"],
        documentation: Some("https://www.manageengine.com/remote-desktop-management/api-doc.html"),
    }
    EndpointCentralMSP {
        title: "Endpoint Central MSP Cloud",
        hosts: Unknown,
        probe: None,
        scopes: &[],
        documentation: None,
    }
    ServiceDeskPlusMSP {
        title: "ServiceDesk Plus MSP Cloud",
        hosts: Unknown,
        probe: Some(SERVICE_DESK),
        scopes: &["SDPOnDemand.requests.READ"],
        documentation: Some(
            "https://www.manageengine.com/products/service-desk-msp/sdpmspcloud-v3-api/getting-started/oauth-2.0.html",
        ),
    }
}
